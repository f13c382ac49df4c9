// Calculator on Apache Thrift's own Go library, which knows nothing of Milo.
//
//	peer serve                              every transport and protocol; prints `<transport> <protocol> <port>` for each that
//	                                        listens, and serves until stdin ends
//	peer call <port> <transport> <protocol> calls every method over one connection; prints what came of each, as JSON
//
// Go's library has one server, TSimpleServer, which is threaded: it serves each connection in a goroutine of its own.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"

	"github.com/apache/thrift/lib/go/thrift"

	"milo.test/peer/gen/calculator"
)

var configuration = &thrift.TConfiguration{}

var transports = map[string]thrift.TTransportFactory{
	"buffered": thrift.NewTBufferedTransportFactory(8192),
	"framed":   thrift.NewTFramedTransportFactoryConf(thrift.NewTTransportFactory(), configuration),
}

var protocols = map[string]thrift.TProtocolFactory{
	"binary":  thrift.NewTBinaryProtocolFactoryConf(configuration),
	"compact": thrift.NewTCompactProtocolFactoryConf(configuration),
	"json":    thrift.NewTJSONProtocolFactory(),
}

type handler struct {
	mutex sync.Mutex
	fired []string
}

// Asked for `fired`, it tells what has been fired since it was asked: a oneway call has no other trace. `nobody` is an undeclared exception.
func (h *handler) Ping(_ context.Context, name string) (string, error) {
	switch name {
	case "fired":
		h.mutex.Lock()
		defer h.mutex.Unlock()
		fired := strings.Join(h.fired, " ")
		h.fired = nil
		return fired, nil
	case "nobody":
		return "", errors.New("nobody is there")
	default:
		return "hello " + name, nil
	}
}

func (h *handler) Add(_ context.Context, a int32, b int32) (int32, error) { return a + b, nil }

func (h *handler) Divide(_ context.Context, a int32, b int32) (int32, error) {
	if b == 0 {
		return 0, &calculator.Oops{Why: "zero", Code: 7}
	}
	return a / b, nil
}

func (h *handler) Touch(context.Context) error { return nil }

func (h *handler) Fire(_ context.Context, what string) error {
	h.mutex.Lock()
	defer h.mutex.Unlock()
	h.fired = append(h.fired, what)
	return nil
}

func (h *handler) Move(_ context.Context, origin *calculator.Point, by []int32) (*calculator.Point, error) {
	return &calculator.Point{X: origin.X + by[0], Label: origin.Label}, nil
}

func serve() error {
	for transport, transportFactory := range transports {
		for protocol, protocolFactory := range protocols {
			socket, err := thrift.NewTServerSocket("127.0.0.1:0")
			if err != nil {
				return err
			}
			if err := socket.Listen(); err != nil {
				return err
			}
			processor := calculator.NewCalculatorProcessor(&handler{})
			server := thrift.NewTSimpleServer4(processor, socket, transportFactory, protocolFactory)
			go func() {
				if err := server.Serve(); err != nil {
					fmt.Fprintln(os.Stderr, err)
					os.Exit(1)
				}
			}()
			fmt.Println(transport, protocol, socket.Addr().(*net.TCPAddr).Port)
		}
	}
	_, err := io.Copy(io.Discard, os.Stdin)
	return err
}

func call(port, transport, protocol string) error {
	socket := thrift.NewTSocketConf("127.0.0.1:"+port, configuration)
	wrapped, err := transports[transport].GetTransport(socket)
	if err != nil {
		return err
	}
	if err := wrapped.Open(); err != nil {
		return err
	}
	defer wrapped.Close()
	client := calculator.NewCalculatorClientFactory(wrapped, protocols[protocol])
	ctx := context.Background()
	results := []any{}
	note := func(result any, err error) error {
		var oops *calculator.Oops
		var application thrift.TApplicationException
		switch {
		case err == nil:
			results = append(results, result)
		case errors.As(err, &oops):
			results = append(results, map[string]any{"oops": oops.Why, "code": oops.Code})
		case errors.As(err, &application):
			results = append(results, "application exception")
		default:
			return err
		}
		return nil
	}
	steps := []func() (any, error){
		func() (any, error) { return client.Ping(ctx, "Zoë 世界 🙂") },
		func() (any, error) { return client.Ping(ctx, "") },
		func() (any, error) { return client.Ping(ctx, strings.Repeat("x", 5000)) },
		func() (any, error) { return client.Add(ctx, -1, 43) },
		func() (any, error) { return client.Divide(ctx, 9, 3) },
		func() (any, error) { return client.Divide(ctx, 1, 0) },
		func() (any, error) { return nil, client.Touch(ctx) },
		func() (any, error) { return nil, client.Fire(ctx, "shot") },
		func() (any, error) {
			point, err := client.Move(ctx, &calculator.Point{X: 1, Label: "é"}, []int32{41, 2})
			if err != nil {
				return nil, err
			}
			return map[string]any{"x": point.X, "label": point.Label}, nil
		},
		func() (any, error) { return client.Ping(ctx, "fired") },
		func() (any, error) { return client.Ping(ctx, "nobody") },
		func() (any, error) { return client.Add(ctx, 1, 1) },
	}
	for _, step := range steps {
		if err := note(step()); err != nil {
			return err
		}
	}
	return json.NewEncoder(os.Stdout).Encode(results)
}

func main() {
	var err error
	switch {
	case len(os.Args) == 2 && os.Args[1] == "serve":
		err = serve()
	case len(os.Args) == 5 && os.Args[1] == "call":
		err = call(os.Args[2], os.Args[3], os.Args[4])
	default:
		err = errors.New("usage: peer serve | peer call <port> <transport> <protocol>")
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
