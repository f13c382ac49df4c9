// The service whose bytes are in test/vectors/otel-java-agent.json, written from them: names of fields and types are made up.
// Generated code, with Debian's thrift-compiler 0.17:
//   thrift --gen js:node,es6 -out test/gen/agent test/gen/agent.thrift

exception Oops {
  1: string why,
  2: i32 code
}

struct Inner {
  1: i64 number
}

struct Item {
  1: i32 number,
  2: string text,
  3: Inner inner
}

service Captured {
  string ping(1: string name),
  i32 add(1: i32 a, 2: i32 b),
  void doVoid(1: string what),
  oneway void fire(1: string what),
  string noargs(),
  Item complex(1: map<string, string> texts, 2: list<i32> numbers, 3: Item item, 4: set<string> words, 5: list<Item> items),
  string thrower(1: string why) throws (1: Oops oops)
}
