# faye-websocket for Ruby.
require "eventmachine"
require "faye/websocket"
require "json"

$stdout.sync = true

def say(what)
  puts JSON.generate(what)
end

def talk(url)
  EM.run do
    tls = { root_cert_file: ARGV[0] }
    socket = Faye::WebSocket::Client.new(url, ["other", "interop"], tls: tls)
    socket.on(:open) { say(open: socket.protocol) }
    socket.on(:message) do |event|
      case event.data
      when "/ping" then socket.ping("") { socket.send("pong") }
      when "/close" then socket.close(4001, "over")
      else socket.send(event.data)
      end
    end
    socket.on(:error) { |event| warn event.message }
    socket.on(:close) do |event|
      say(closed: event.code, reason: event.reason)
      EM.stop
    end
  end
end

while (url = STDIN.gets)
  talk(url.chomp)
end
