# WEBrick binds each address that a name has, IPv4 and IPv6, on one port.
require "webrick"

quiet = WEBrick::Log.new(File::NULL)
server = WEBrick::HTTPServer.new(Port: ARGV[0].to_i, Logger: quiet, AccessLog: [])
server.mount_proc("/") { |_, answer| answer.body = Process.pid.to_s }
server.start
