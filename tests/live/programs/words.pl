#!/usr/bin/perl
# SPDX-License-Identifier: GPL-2.0-or-later
# usage: words.pl PASSES
# Hashes, regular expressions, sorting, children at both ends of pipes, alarm and SIGCHLD handlers,
# a file that is read and written. words_lines() in table.py computes the same in another way.
use strict;
use warnings;
use IO::Handle;

$| = 1;
my ($ended, $alarms) = (0, 0);
my %status;

$SIG{ALRM} = sub { $alarms++ };
$SIG{CHLD} = sub {
	while ((my $pid = waitpid(-1, 1)) > 0) {
		$status{$pid} = $? >> 8;
		$ended++;
	}
};

# numbers that look random: a linear congruence
sub numbers {
	my ($seed, $count) = @_;
	my @found;
	for (1 .. $count) {
		$seed = ($seed * 1103515245 + 12345) & 0x7fffffff;
		push @found, $seed >> 16;
	}
	return @found;
}

sub child_sum {
	my ($n) = @_;
	pipe(my $reader, my $writer) or die;
	my $pid = fork() // die;
	if ($pid == 0) {
		close $reader;
		my $sum = 0;
		$sum += $_ for numbers($n, 8000);
		print $writer "$sum\n";
		close $writer;
		exit($n % 100);
	}
	close $writer;
	my $line = <$reader>;
	chomp $line;
	until (defined $status{$pid}) { select undef, undef, undef, 0.001 }
	return "$line/" . delete $status{$pid};
}

open my $log, '+>', 'log' or die;
$log->autoflush(1);
for my $n (0 .. $ARGV[0] - 1) {
	alarm 1;
	my %seen;
	$seen{sprintf '%04x', $_}++ for numbers($n + 1, 12000);
	my @order = sort { $seen{$b} <=> $seen{$a} || $a cmp $b } keys %seen;
	my $matching = grep { /^[0-7]+[a-f]$/ } @order;
	(my $text = join '', @order[0 .. 400]) =~ s/(\d)([a-f])/$2$1/g;
	my $check = 0;
	$check = ($check * 33 + ord $_) & 0xffffffff for split //, $text;
	print $log "$n $check\n";
	print "$n ", scalar(@order), " $order[0] $matching $check ", child_sum($n), "\n";
}
seek $log, 0, 0 or die;
my $lines = () = <$log>;
print "lines $lines ended $ended\n";
