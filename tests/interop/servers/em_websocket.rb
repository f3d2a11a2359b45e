# em-websocket, for Ruby.
require "em-websocket"
require "json"

$stdout.sync = true

def say(what)
  puts JSON.generate(what)
end

port, cert, key = ARGV
options = { host: "127.0.0.1", port: port.to_i }
if cert
  options[:secure] = true
  options[:tls_options] = { private_key_file: key, cert_chain_file: cert }
end

EM.run do
  EM::WebSocket.run(options) do |socket|
    socket.onopen { say(open: nil) }
    socket.onmessage do |text|
      case text
      when "/ping" then socket.ping
      when "/close" then socket.close(4001, "over")
      else socket.send_text(text)
      end
    end
    socket.onbinary { |data| socket.send_binary(data) }
    socket.onpong { socket.send_text("pong") }
    socket.onclose { |status| say(closed: status[:code], reason: status[:reason]) }
  end
  Signal.trap("TERM") { EM.stop }
end
