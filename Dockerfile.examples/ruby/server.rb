# Turns what it is sent round.
require "json"
require "webrick"

server = WEBrick::HTTPServer.new(Port: 4567, BindAddress: "0.0.0.0", AccessLog: [], Logger: WEBrick::Log.new($stderr, 1))
server.mount_proc("/reverse") do |request, response|
  response.content_type = "application/json"
  response.body = JSON.generate(reversed: request.query["text"].reverse) + "\n"
end
trap("TERM") { server.shutdown }
server.start
