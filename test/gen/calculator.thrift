// The services that the Thrift tests call. Generated code, with Debian's thrift-compiler 0.17:
//   thrift --gen js:node,es6 -out test/gen/es6 test/gen/calculator.thrift
//   thrift --gen js:node -out test/gen/js test/gen/calculator.thrift
//   thrift --gen py -out test/gen/py test/gen/calculator.thrift
//   thrift --gen java:generated_annotations=suppress -out test/gen/java test/gen/calculator.thrift
//   thrift --gen go -out test/interop/go/gen test/gen/calculator.thrift
// without the *-remote programs.

exception Oops {
  1: string why,
  2: i32 code
}

struct Point {
  1: i32 x,
  2: string label
}

service Base {
  string ping(1: string name)
}

service Calculator extends Base {
  i32 add(1: i32 a, 2: i32 b),
  i32 divide(1: i32 a, 2: i32 b) throws (1: Oops oops),
  void touch(),
  oneway void fire(1: string what),
  Point move(1: Point origin, 2: list<i32> by)
}
