# Mojolicious.
use Mojo::Base -strict;
use Mojo::JSON qw(encode_json);
use Mojo::Promise;
use Mojo::UserAgent;

$| = 1;

sub say_json { print encode_json({@_}), "\n" }

my $agent = Mojo::UserAgent->new(ca => $ARGV[0], inactivity_timeout => 0, max_response_size => 0);
$agent->on(start => sub { $_[1]->req->headers->sec_websocket_extensions('permessage-deflate') });

sub talk {
  my ($url) = @_;
  my $ended = Mojo::Promise->new;
  $agent->websocket($url => ['other', 'interop'] => sub {
    my (undef, $socket) = @_;
    return $ended->reject('no WebSocket') unless $socket->is_websocket;
    say_json(open => $socket->protocol);
    $socket->max_websocket_size(2**21);
    my ($close, $reason) = (1006, '');
    $socket->on(frame => sub {
      my (undef, $frame) = @_;
      $socket->send('pong') if $frame->[4] == 10;
    });
    $socket->on(text => sub {
      my (undef, $bytes) = @_;
      if ($bytes eq '/fragments') {
        $socket->send([0, 0, 0, 0, 1, 'one, ']);
        $socket->send([0, 0, 0, 0, 0, 'two, ']);
        $socket->send([1, 0, 0, 0, 0, 'three']);
      }
      elsif ($bytes eq '/ping')  { $socket->send([1, 0, 0, 0, 9, '']) }
      elsif ($bytes eq '/close') { $socket->finish(4001, 'over') }
      else                       { $socket->send({text => $bytes}) }
    });
    $socket->on(binary => sub { $socket->send({binary => $_[1]}) });
    $socket->on(finish => sub {
      my (undef, $code, $why) = @_;
      say_json(closed => $code, reason => $why // '');
      Mojo::IOLoop->timer(0.05 => sub { $ended->resolve });    # after our close frame has left
    });
  });
  $ended->wait;
}

while (my $url = <STDIN>) { chomp $url; talk($url) }
