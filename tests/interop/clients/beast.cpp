// Boost.Beast.
#include <boost/asio/connect.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ssl.hpp>
#include <boost/beast/core.hpp>
#include <boost/beast/ssl.hpp>
#include <boost/beast/websocket.hpp>
#include <boost/beast/websocket/ssl.hpp>
#include <iostream>
#include <string>

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace websocket = beast::websocket;
using tcp = asio::ip::tcp;

template <class Socket>
void talk(Socket& socket, const std::string& host)
{
    websocket::permessage_deflate deflate;
    deflate.client_enable = true;
    socket.set_option(deflate);
    socket.set_option(websocket::stream_base::decorator([](websocket::request_type& request) {
        request.set(beast::http::field::sec_websocket_protocol, "other, interop");
    }));
    socket.control_callback([&](websocket::frame_type kind, beast::string_view) {
        if (kind != websocket::frame_type::pong) return;
        socket.text(true);
        socket.write(asio::buffer(std::string("pong")));
    });
    websocket::response_type answer;
    socket.handshake(answer, host, "/");
    std::cout << "{\"open\": \"" << answer[beast::http::field::sec_websocket_protocol] << "\"}"
              << std::endl;
    beast::error_code error;
    for (;;) {
        beast::flat_buffer buffer;
        socket.read(buffer, error);
        if (error) break;
        std::string text = socket.got_text() ? beast::buffers_to_string(buffer.data()) : "";
        socket.text(socket.got_text());
        if (text == "/fragments") {
            socket.write_some(false, asio::buffer(std::string("one, ")));
            socket.write_some(false, asio::buffer(std::string("two, ")));
            socket.write_some(true, asio::buffer(std::string("three")));
        } else if (text == "/ping")
            socket.ping({}, error);
        else if (text == "/close")
            socket.close({websocket::close_code(4001), "over"}, error);
        else
            socket.write(buffer.data(), error);
    }
    auto reason = socket.reason();
    std::cout << "{\"closed\": " << (reason ? reason.code : 1006) << ", \"reason\": \""
              << reason.reason << "\"}" << std::endl;
}

int main(int, char** arguments)
{
    asio::io_context context;
    asio::ssl::context trust{asio::ssl::context::tls_client};
    trust.load_verify_file(arguments[1]);
    trust.set_verify_mode(asio::ssl::verify_peer);
    for (std::string url; std::getline(std::cin, url);) {
        bool secure = url.rfind("wss:", 0) == 0;
        std::string host = url.substr(url.find("//") + 2);
        host = host.substr(0, host.find('/'));
        auto colon = host.find(':');
        tcp::resolver resolver{context};
        auto found = resolver.resolve(host.substr(0, colon), host.substr(colon + 1));
        if (secure) {
            websocket::stream<beast::ssl_stream<tcp::socket>> socket{context, trust};
            asio::connect(beast::get_lowest_layer(socket), found);
            socket.next_layer().handshake(asio::ssl::stream_base::client);
            talk(socket, host);
        } else {
            websocket::stream<tcp::socket> socket{context};
            asio::connect(beast::get_lowest_layer(socket), found);
            talk(socket, host);
        }
    }
}
