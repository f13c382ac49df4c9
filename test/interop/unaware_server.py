"""HelloWorld on Apache Thrift's own Python servers, which know nothing of Milo: every server class, transport and protocol.

Prints a line `<server> <transport> <protocol> <port>` for each when it listens, and serves until stdin ends.
"""

import os
import sys
import threading

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '../../examples/hello-world/gen-py'))

from thrift.protocol.TBinaryProtocol import TBinaryProtocolFactory  # noqa: E402
from thrift.protocol.TCompactProtocol import TCompactProtocolFactory  # noqa: E402
from thrift.server.TServer import TSimpleServer, TThreadedServer  # noqa: E402
from thrift.transport.TSocket import TServerSocket  # noqa: E402
from thrift.transport.TTransport import TBufferedTransportFactory, TFramedTransportFactory  # noqa: E402

from hello_world import HelloWorld  # noqa: E402


class Handler:
    def ping(self, name):
        return 'Hello, %s!' % name


class AnyPort(TServerSocket):
    def __init__(self, label):
        super().__init__('127.0.0.1', 0)
        self.label = label

    def listen(self):
        super().listen()
        sys.stdout.write('%s %d\n' % (self.label, self.handle.getsockname()[1]))
        sys.stdout.flush()


def main():
    for server in (TSimpleServer, TThreadedServer):
        for transport, transports in (('buffered', TBufferedTransportFactory), ('framed', TFramedTransportFactory)):
            for protocol, protocols in (('binary', TBinaryProtocolFactory), ('compact', TCompactProtocolFactory)):
                socket = AnyPort('%s %s %s' % (server.__name__, transport, protocol))
                it = server(HelloWorld.Processor(Handler()), socket, transports(), protocols())
                threading.Thread(target=it.serve, daemon=True).start()
    sys.stdin.read()


if __name__ == '__main__':
    main()
