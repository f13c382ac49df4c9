// The services of the Thrift bench. Generated code, with Debian's thrift-compiler 0.17:
//   thrift --gen js:node,es6 -out test/bench/thrift/gen test/bench/thrift/echo.thrift

service Echo {
  string echo(1: string text)
}

// What one does to trace by hand: a place in the arguments for the trace's headers.
service CarryingEcho {
  string echo(1: string text, 2: map<string, string> headers)
}
