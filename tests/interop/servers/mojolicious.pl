# Mojolicious.
use Mojolicious::Lite -signatures;
use Mojo::JSON qw(encode_json);
use Mojo::Server::Daemon;

$| = 1;

sub say_json { print encode_json({@_}), "\n" }

my %sockets;

websocket '/' => sub ($c) {
  my $socket = $c->tx;
  $socket->with_protocols('interop');
  $socket->with_compression;
  $socket->max_websocket_size(2**21);
  $sockets{$socket} = $socket;
  say_json(open => $socket->protocol);
  $c->on(frame => sub ($c, $frame) { $c->send('pong') if $frame->[4] == 10 });
  $c->on(text => sub ($c, $bytes) {
    if ($bytes eq '/fragments') {
      $c->send([0, 0, 0, 0, 1, 'one, ']);
      $c->send([0, 0, 0, 0, 0, 'two, ']);
      $c->send([1, 0, 0, 0, 0, 'three']);
    }
    elsif ($bytes eq '/ping')  { $c->send([1, 0, 0, 0, 9, '']) }
    elsif ($bytes eq '/close') { $socket->finish(4001, 'over') }
    else                       { $c->send({text => $bytes}) }
  });
  $c->on(binary => sub ($c, $bytes) { $c->send({binary => $bytes}) });
  $c->on(finish => sub ($c, $code, $reason) {
    delete $sockets{$socket};
    say_json(closed => $code, reason => $reason // '');
  });
};

my ($port, $cert, $key) = @ARGV;
my $listen = $cert ? "https://127.0.0.1:$port?cert=$cert&key=$key" : "http://127.0.0.1:$port";
app->log->level('error');
my $daemon = Mojo::Server::Daemon->new(app => app, listen => [$listen], silent => 1);
$daemon->inactivity_timeout(0)->start;
$SIG{TERM} = sub {
  $_->finish(1001) for values %sockets;
  Mojo::IOLoop->stop_gracefully;
};
Mojo::IOLoop->start;
