# SPDX-License-Identifier: GPL-2.0-or-later
# usage: lines.rb PASSES
# Threads with queues, fibers, children at the ends of pipes, garbage, a handler of signals.
# lines_lines() in table.py computes the answers in another way.
require 'digest/sha2'

$stdout.sync = true
hups = 0
trap('HUP') { hups += 1 }

def chain(seed)
  400.times { seed = Digest::SHA256.digest(seed) }
  seed.unpack1('H16')
end

def by_threads(n)
  todo, done = Queue.new, Queue.new
  threads = Array.new(3) do
    Thread.new { while (i = todo.pop) != :end do done << [i, chain("#{n}-#{i}")] end }
  end
  20.times { |i| todo << i }
  3.times { todo << :end }
  threads.each(&:join)
  Array.new(20) { done.pop }.sort.map { |_, s| s[0, 4] }.join
end

def by_child(n)
  IO.popen(%w[sort -n], 'r+') do |p|
    2000.times { |i| p.puts((i * 7919 + n) % 1009) }
    p.close_write
    p.each_line.with_index.sum { |line, i| line.to_i * (i % 7) }
  end
end

def by_fork(n)
  reader, writer = IO.pipe
  pid = fork do
    reader.close
    writer.puts (1..3000).sum { |i| (i * n) % 101 }
    Process.kill(:HUP, Process.ppid)
    exit!(n % 100)
  end
  writer.close
  answer = reader.gets.to_i
  Process.wait(pid)
  "#{answer}/#{$?.exitstatus}"
end

def by_fiber(n)
  squares = Fiber.new { (n..n + 200).each { |i| Fiber.yield((i * i).to_s * 3) }; nil }
  total = 0
  while (word = squares.resume) do total += word.size end
  total
end

Integer(ARGV[0]).times do |n|
  puts "#{n} #{by_threads(n)} #{by_child(n)} #{by_fork(n)} #{by_fiber(n)}"
end
puts "hups #{hups.positive?}"
