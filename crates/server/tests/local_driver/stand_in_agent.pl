#!/usr/bin/perl
# Stands in for gimp-session where a test is about the sandbox: answers /health and runs shell scripts that are posted
# to /shell, in exactly the surroundings that GIMP would have. Perl, because every Debian has it and because it can make
# any system call by number.
use strict;
use warnings;
use Socket;

my $run = '/run/gimp-session';
-s "$run/config.json" or exit 78;
open(my $file, '<', "$run/token") or exit 78;
defined(my $token = <$file>) or exit 78;
close $file;
unlink "$run/token";
open($file, '>', "$run/status.json") and close $file;

$SIG{TERM} = sub { exit 0 };
$SIG{CHLD} = 'IGNORE';
socket(my $listener, AF_UNIX, SOCK_STREAM, 0) or die "socket: $!";
bind($listener, pack_sockaddr_un("$run/agent.sock")) or die "bind: $!";
listen($listener, 16) or die "listen: $!";

sub answer {
    my ($client, $status, $code, $body) = @_;
    syswrite $client, "HTTP/1.1 $status\r\nX-Exit-Code: $code\r\nContent-Length: " . length($body) . "\r\n\r\n$body";
    close $client;
}

while (1) {
    accept(my $client, $listener) or next;
    my $request = '';
    while ($request !~ /\r\n\r\n/) { sysread($client, $request, 65536, length $request) or last }
    my ($length) = $request =~ /^content-length: *(\d+)/im;
    my ($body) = $request =~ /\r\n\r\n(.*)/s;
    while (length $body < ($length // 0)) { sysread($client, $body, 65536, length $body) or last }
    if ($request =~ m{^GET /health }) {
        answer($client, '200 OK', 0, '');
    } elsif ($request =~ m{^PUT /v1/writes }) {
        if (open(my $writes, '>>', '/tmp/writes')) { print $writes "$body\n"; close $writes }
        answer($client, '204 No Content', 0, '');
    } elsif ($request =~ m{^POST /shell }) {
        my $child = fork;
        if (!defined $child) { answer($client, '503 Full', 1, "fork: $!"); next }
        if ($child == 0) {
            $SIG{CHLD} = 'DEFAULT';
            $SIG{TERM} = 'DEFAULT';
            close $listener;
            my $reader = open(my $output, '-|') // do { answer($client, '503 Full', 1, "fork: $!"); exit };
            if ($reader == 0) {
                open(STDERR, '>&', \*STDOUT);
                close $client;
                exec 'sh', '-c', $body;
                exit 127;
            }
            my $text = do { local $/; <$output> } // '';
            close $output;
            answer($client, '200 OK', $? >> 8 || ($? & 127 ? 128 + ($? & 127) : 0), $text);
            exit;
        }
    } else {
        answer($client, '404 Not Found', 1, '');
    }
    close $client;
}
