// The OpenTelemetry Collector's receiver for OTLP, which prints what it takes: each request as OTLP's JSON, on a line of its own.
// Run with the addresses for gRPC and HTTP.
package main

import (
	"context"
	"fmt"
	"os"
	"sync"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/confmap"
	"go.opentelemetry.io/collector/consumer"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/collector/receiver"
	"go.opentelemetry.io/collector/receiver/otlpreceiver"
)

func main() {
	factory := otlpreceiver.NewFactory()
	config := factory.CreateDefaultConfig()
	must(confmap.NewFromStringMap(map[string]any{
		"protocols": map[string]any{
			"grpc": map[string]any{"endpoint": os.Args[1]},
			"http": map[string]any{"endpoint": os.Args[2]},
		},
	}).Unmarshal(config))
	var lines sync.Mutex
	sink, err := consumer.NewTraces(func(_ context.Context, traces ptrace.Traces) error {
		json, err := (&ptrace.JSONMarshaler{}).MarshalTraces(traces)
		if err != nil {
			return err
		}
		lines.Lock()
		defer lines.Unlock()
		fmt.Println(string(json))
		return nil
	})
	must(err)
	settings := receiver.Settings{
		ID:                component.NewID(factory.Type()),
		TelemetrySettings: componenttest.NewNopTelemetrySettings(),
		BuildInfo:         component.NewDefaultBuildInfo(),
	}
	server, err := factory.CreateTraces(context.Background(), settings, config, sink)
	must(err)
	must(server.Start(context.Background(), componenttest.NewNopHost()))
	fmt.Println("ready")
	// The test ends it by closing its standard input.
	_, _ = os.Stdin.Read(make([]byte, 1))
	must(server.Shutdown(context.Background()))
}

func must(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
