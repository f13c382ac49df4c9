// Scribe: how spans travel. Framed transport, binary protocol, category "Milo-Trace".

include "fb303.thrift"

namespace js scribe
namespace py scribe
namespace java scribe

enum ResultCode {
  OK = 0,
  TRY_LATER = 1
}

struct LogEntry {
  1: string category,
  2: binary message                 // concatenated records: i32 0x8badf00d, i32 length, Span
}

service scribe extends fb303.FacebookService {
  ResultCode Log(1: list<LogEntry> messages)
}
