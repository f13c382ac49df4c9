module milo.test/jaeger

go 1.21

require github.com/jaegertracing/jaeger v1.57.0
