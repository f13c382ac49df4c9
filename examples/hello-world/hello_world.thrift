service HelloWorld {
  string ping(1: string name)
}
