# SPDX-License-Identifier: GPL-2.0-or-later
# usage: http_server.rb PORT
# An HTTP server with a thread for each connection and one that collects garbage: the answer to /A/B
# is "A B N" for the Nth request of the connection.
require 'socket'

def serve(client)
  count = 0
  while (line = client.gets)
    loop { break if (client.gets || "\r\n") == "\r\n" }
    count += 1
    body = "#{line.split[1][1..].tr('/', ' ')} #{count}"
    client.write("HTTP/1.1 200 OK\r\nContent-Length: #{body.bytesize}\r\n\r\n#{body}")
  end
rescue SystemCallError
  nil
ensure
  client.close
end

Thread.new do
  loop do
    sleep 0.02
    GC.start
  end
end
server = TCPServer.new('127.0.0.1', Integer(ARGV[0]))
loop { Thread.new(server.accept) { |client| serve(client) } }
