"""Calculator on Apache Thrift's own Python library, which knows nothing of Milo.

    serve                                  every server class, transport and protocol; prints
                                           `<server> <transport> <protocol> <port>` for each when it listens, and serves until
                                           stdin ends
    call <port> <transport> <protocol>     calls every method over one connection; prints what came of each, as JSON
    pipeline <port> <transport> <protocol> sends all the requests in one write, then reads the replies

Python's clients send the sequence id 0 with every call. The accelerated protocols are asked for without their fallback: where
the C extension is missing, they fail.
"""

import json
import os
import sys
import threading

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '../gen/py'))

from thrift.protocol.TBinaryProtocol import TBinaryProtocolAcceleratedFactory, TBinaryProtocolFactory  # noqa: E402
from thrift.protocol.TCompactProtocol import TCompactProtocolAcceleratedFactory, TCompactProtocolFactory  # noqa: E402
from thrift.protocol.TJSONProtocol import TJSONProtocolFactory  # noqa: E402
from thrift.server.TNonblockingServer import TNonblockingServer  # noqa: E402
from thrift.server.TServer import TSimpleServer, TThreadedServer, TThreadPoolServer  # noqa: E402
from thrift.Thrift import TApplicationException  # noqa: E402
from thrift.transport.TSocket import TServerSocket, TSocket  # noqa: E402
from thrift.transport.TTransport import TBufferedTransportFactory, TFramedTransportFactory  # noqa: E402

from calculator import Calculator  # noqa: E402
from calculator.ttypes import Oops, Point  # noqa: E402

TRANSPORTS = {'buffered': TBufferedTransportFactory(), 'framed': TFramedTransportFactory()}
PROTOCOLS = {
    'binary': TBinaryProtocolFactory(),
    'binary-accelerated': TBinaryProtocolAcceleratedFactory(fallback=False),
    'compact': TCompactProtocolFactory(),
    'compact-accelerated': TCompactProtocolAcceleratedFactory(fallback=False),
    'json': TJSONProtocolFactory(),
}


class Handler:
    def __init__(self):
        self.lock = threading.Lock()
        self.fired = []

    def ping(self, name):
        """Asked for `fired`, it tells what has been fired since it was asked. `nobody` is an undeclared exception."""
        if name == 'nobody':
            raise LookupError('nobody is there')
        if name != 'fired':
            return 'hello ' + name
        with self.lock:
            fired, self.fired = self.fired, []
        return ' '.join(fired)

    def add(self, a, b):
        return a + b

    def divide(self, a, b):
        if b == 0:
            raise Oops('zero', 7)
        return a // b

    def touch(self):
        pass

    def fire(self, what):
        with self.lock:
            self.fired.append(what)

    def move(self, origin, by):
        return Point(origin.x + by[0], origin.label)


class AnyPort(TServerSocket):
    def __init__(self, label):
        super().__init__('127.0.0.1', 0)
        self.label = label

    def listen(self):
        super().listen()
        sys.stdout.write('%s %d\n' % (self.label, self.handle.getsockname()[1]))
        sys.stdout.flush()


def serve():
    def start(server, transport, protocol):
        socket = AnyPort('%s %s %s' % (server.__name__, transport, protocol))
        processor = Calculator.Processor(Handler())
        if server is TNonblockingServer:
            # Framed by itself.
            it = server(processor, socket, PROTOCOLS[protocol])
        else:
            it = server(processor, socket, TRANSPORTS[transport], PROTOCOLS[protocol])
        threading.Thread(target=it.serve, daemon=True).start()

    for server in (TSimpleServer, TThreadedServer, TThreadPoolServer, TNonblockingServer):
        for transport in ('framed',) if server is TNonblockingServer else TRANSPORTS:
            for protocol in PROTOCOLS:
                start(server, transport, protocol)
    sys.stdin.read()


class CorkedSocket(TSocket):
    """Keeps what is written until it is uncorked."""

    corked = None

    def write(self, buff):
        if self.corked is None:
            super().write(buff)
        else:
            self.corked.append(buff)

    def uncork(self):
        buffs, self.corked = self.corked, None
        self.write(b''.join(buffs))


CALLS = [
    ('ping', 'Zoë 世界 🙂'),
    ('ping', ''),
    ('ping', 'x' * 5000),
    ('add', -1, 43),
    ('divide', 9, 3),
    ('divide', 1, 0),
    ('touch',),
    ('fire', 'shot'),
    ('move', Point(1, 'é'), [41, 2]),
    ('ping', 'fired'),
    ('ping', 'nobody'),
    ('add', 1, 1),
]


def outcome(reply):
    try:
        result = reply()
    except Oops as oops:
        return {'oops': oops.why, 'code': oops.code}
    except TApplicationException:
        return 'application exception'
    return {'x': result.x, 'label': result.label} if isinstance(result, Point) else result


def call(port, transport, protocol, pipelined):
    socket = CorkedSocket('127.0.0.1', int(port))
    wrapped = TRANSPORTS[transport].getTransport(socket)
    client = Calculator.Client(PROTOCOLS[protocol].getProtocol(wrapped))
    wrapped.open()
    if pipelined:
        socket.corked = []
        for name, *args in CALLS:
            getattr(client, 'send_' + name)(*args)
        socket.uncork()
        # A oneway method has nothing to receive.
        results = [outcome(getattr(client, 'recv_' + name, lambda: None)) for name, *_ in CALLS]
    else:
        results = [outcome(lambda: getattr(client, name)(*args)) for name, *args in CALLS]
    wrapped.close()
    json.dump(results, sys.stdout)


def main():
    command, *args = sys.argv[1:]
    if command == 'serve':
        serve()
    else:
        call(*args, pipelined={'call': False, 'pipeline': True}[command])


if __name__ == '__main__':
    main()
