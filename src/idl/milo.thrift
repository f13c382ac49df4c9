// Milo's structs, compatible on the wire with the original of 2010.
// Fields 1–9 of Span are the original's and keep their ids for good; 10 and above are ours, all optional.

namespace js milo
namespace py milo
namespace java milo

enum EventType {
  CLIENT_SEND = 1,
  CLIENT_RECV = 2,
  SERVER_SEND = 3,
  SERVER_RECV = 4,
  CUSTOM = 5
}

struct Event {
  1: optional i64 timestamp,        // microseconds since the epoch
  2: optional EventType event_type,
  3: optional string value          // what happened, for CUSTOM
}

// Half a span, or a whole one: what one process reports. Client and server of one RPC report the same id.
// In a Scribe message each is preceded by i32 0x8badf00d and i32 length.
struct Span {
  1: optional i64 trace_id,         // low 64 bits
  2: optional string name,          // Service.method
  3: optional i64 id,
  4: optional i64 parent_id,        // 0 = root
  5: optional string client_host,
  6: optional string server_host,
  7: optional list<Event> events,
  8: optional map<string, string> annotations,
  9: optional map<string, i64> counters,
  10: optional i64 trace_id_high,   // high 64 bits of a 128-bit trace id; absent = 0
  11: optional string service_name, // who reports; "service" in JSON and in speech: the word is reserved here
  12: optional double probability   // with which the trace was kept; 0 = forced, absent = unknown
}

// What a process asks of a collector, again and again: which traces should be sent after the fact. See docs/wire-format.md.
struct KeepsRequest {
  1: i64 since,                     // next_us of the last reply; 0 = from now on
  2: i32 wait_ms,                   // how long the answer may wait for something to say; at most 30,000
  3: string service_name,           // who asks: as in its spans
  4: string host,
  5: i64 process,                   // random: one for each history
  6: i64 history_us,                // when the oldest span of its history began, microseconds since the epoch
  7: optional list<string> listening, // where it takes calls: "10.0.0.5:9090", "[::]:80"; at most 64
  8: optional i64 made_us,          // when its history was made: it began then until something in it was overwritten
  9: optional i64 now_us            // what time it is for who asks: the times above are by the same clock
}

struct KeepsReply {
  1: i64 next_us,
  // Entries of 10 bytes: kind (0: a trace, 1: an operation), id (the trace id's low 64 bits; or the first 8 bytes of
  // sha256(service + NUL + name); 2: an operation, with a number of the request as the id's last two bytes), n (of an operation: how
  // many traces to keep). Unknown kinds are passed over.
  2: binary keeps
}

// A process that asks a relay, as the relay tells its collector.
struct Ring {
  1: string service_name,
  2: string host,
  3: i64 process,
  4: i64 history_us,
  5: i64 seen_us,                   // when it was last there
  6: bool ended,                    // it went away while its question was open
  7: optional list<string> listening,
  8: optional i64 made_us,
  9: optional i64 told_us,          // when it told history_us; absent: at seen_us
  10: optional i64 ahead_us         // how far its clock is ahead of the relay's; its times are by the relay's
}

service Keeps {
  KeepsReply keeps(1: KeepsRequest request)
  void rings(1: list<Ring> rings, 2: i64 now_us) // at most 1,000. The times are by the relay's clock, which says now_us
}
