#!/usr/bin/env python3
"""Calls HelloWorld.ping and starts a trace with it, as users of the original Milo have done since 2010.

The trace travels in a CALLTRACE message: an ordinary call of the binary protocol whose message type is 5, with three
i64 between the message's header and the arguments: trace id, span id, parent span id. The server must know CALLTRACE:
one that runs under Milo does, any other takes it for garbage.

    python3 milo_client.py --port 9090 ada
    python3 milo_client.py --port 9090 --scribe 127.0.0.1:1463 ada    # reports the client's half of the span, too

Needs Python 3 and `pip install thrift`.
"""

import argparse
import os
import secrets
import socket
import struct
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), 'gen-py'))

from thrift.protocol.TBinaryProtocol import TBinaryProtocol  # noqa: E402
from thrift.Thrift import TApplicationException, TException, TMessageType, TType  # noqa: E402
from thrift.transport.TSocket import TSocket  # noqa: E402
from thrift.transport.TTransport import (  # noqa: E402
    TBufferedTransport,
    TFramedTransport,
    TMemoryBuffer,
)

from hello_world import HelloWorld  # noqa: E402

CALLTRACE = 5
CLIENT_SEND, CLIENT_RECV = 1, 2
RECORD_DELIMITER = 0x8BADF00D


class TMiloProtocol(TBinaryProtocol):
    """The binary protocol, whose calls carry `trace`: (trace id, span id, parent span id), each a signed 64-bit number."""

    def __init__(self, transport, trace):
        super().__init__(transport)
        self.trace = trace

    def writeMessageBegin(self, name, type, seqid):
        if type != TMessageType.CALL:
            super().writeMessageBegin(name, type, seqid)
            return
        super().writeMessageBegin(name, CALLTRACE, seqid)
        for number in self.trace:
            self.writeI64(number)


def client_half(trace, name, host, sent_us, received_us):
    """The span as this client saw it: delimiter, length and the Span struct, in the form that Scribe carries."""
    buffer = TMemoryBuffer()
    p = TBinaryProtocol(buffer)
    trace_id, span_id, parent_id = trace

    def field(type, id, write, value):
        p.writeFieldBegin('', type, id)
        write(value)

    field(TType.I64, 1, p.writeI64, trace_id)
    field(TType.STRING, 2, p.writeString, name)
    field(TType.I64, 3, p.writeI64, span_id)
    field(TType.I64, 4, p.writeI64, parent_id)
    field(TType.STRING, 5, p.writeString, host)
    p.writeFieldBegin('', TType.LIST, 7)
    p.writeListBegin(TType.STRUCT, 2)
    for timestamp, event_type in ((sent_us, CLIENT_SEND), (received_us, CLIENT_RECV)):
        field(TType.I64, 1, p.writeI64, timestamp)
        field(TType.I32, 2, p.writeI32, event_type)
        p.writeFieldStop()
    p.writeFieldStop()
    span = buffer.getvalue()
    return struct.pack('!Ii', RECORD_DELIMITER, len(span)) + span


def log_to_scribe(host, port, message):
    """One `Log` call of Scribe: category Milo-Trace, framed. Raises unless the answer is OK."""
    transport = TFramedTransport(TSocket(host, port))
    transport.open()
    try:
        p = TBinaryProtocol(transport)
        p.writeMessageBegin('Log', TMessageType.CALL, 0)
        p.writeFieldBegin('', TType.LIST, 1)
        p.writeListBegin(TType.STRUCT, 1)
        p.writeFieldBegin('', TType.STRING, 1)
        p.writeString('Milo-Trace')
        p.writeFieldBegin('', TType.STRING, 2)
        p.writeBinary(message)
        p.writeFieldStop()
        p.writeFieldStop()
        p.writeMessageEnd()
        transport.flush()

        _, type, _ = p.readMessageBegin()
        if type == TMessageType.EXCEPTION:
            error = TApplicationException()
            error.read(p)
            raise error
        result = None
        while True:
            _, field_type, field_id = p.readFieldBegin()
            if field_type == TType.STOP:
                break
            if field_id == 0 and field_type == TType.I32:
                result = p.readI32()
            else:
                p.skip(field_type)
        if result != 0:
            raise TException('Scribe answered %s, not OK' % {1: 'TRY_LATER'}.get(result, result))
    finally:
        transport.close()


def address(text):
    host, _, port = text.rpartition(':')
    return host or '127.0.0.1', int(port)


def i64(text):
    number = int(text, 0)
    if not -(2**63) <= number < 2**63:
        raise argparse.ArgumentTypeError('%s is not a signed 64-bit number' % text)
    return number


def now_us():
    return time.time_ns() // 1000


def random_id():
    return secrets.randbelow(2**63 - 1) + 1


def main():
    arguments = argparse.ArgumentParser(description='Calls HelloWorld.ping with a trace of its own.')
    arguments.add_argument('name', nargs='?', default='world')
    arguments.add_argument('--host', default='127.0.0.1')
    arguments.add_argument('--port', type=int, default=9090)
    arguments.add_argument('--framed', action='store_true', help='framed transport; buffered otherwise')
    arguments.add_argument('--trace-id', type=i64, help='a signed 64-bit number; random otherwise')
    arguments.add_argument('--span-id', type=i64, help='the id of the call; random otherwise')
    arguments.add_argument('--parent-id', type=i64, default=0, help='the span that calls; 0, a root, otherwise')
    arguments.add_argument('--scribe', type=address, metavar='HOST:PORT', help='reports the client half there')
    options = arguments.parse_args()

    trace = (
        random_id() if options.trace_id is None else options.trace_id,
        random_id() if options.span_id is None else options.span_id,
        options.parent_id,
    )
    socket_ = TSocket(options.host, options.port)
    transport = TFramedTransport(socket_) if options.framed else TBufferedTransport(socket_)
    transport.open()
    try:
        client = HelloWorld.Client(TMiloProtocol(transport, trace))
        sent_us = now_us()
        reply = client.ping(options.name)
        received_us = now_us()
    finally:
        transport.close()
    if options.scribe:
        half = client_half(trace, 'HelloWorld.ping', socket.gethostname(), sent_us, received_us)
        log_to_scribe(*options.scribe, half)
    print(reply)
    print('trace id: %d' % trace[0])


if __name__ == '__main__':
    try:
        main()
    except (TException, OSError) as error:
        sys.exit('%s: %s' % (type(error).__name__, error))
