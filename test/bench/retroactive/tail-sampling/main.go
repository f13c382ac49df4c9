// The OpenTelemetry Collector's tail_sampling processor between its OTLP receiver and a counter: what one of its users runs.
// Run with the address for OTLP over HTTP and the processor's configuration as JSON; each line of standard input is a question:
// what has been kept until then, as JSON on a line.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/open-telemetry/opentelemetry-collector-contrib/processor/tailsamplingprocessor"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/confmap"
	"go.opentelemetry.io/collector/consumer"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/collector/processor"
	"go.opentelemetry.io/collector/receiver"
	"go.opentelemetry.io/collector/receiver/otlpreceiver"
)

type kept struct {
	Spans int   `json:"spans"`
	AtMs  int64 `json:"atMs"`
}

func main() {
	ctx := context.Background()
	var guard sync.Mutex
	traces := map[string]*kept{}
	sink, err := consumer.NewTraces(func(_ context.Context, batch ptrace.Traces) error {
		guard.Lock()
		defer guard.Unlock()
		for _, resource := range batch.ResourceSpans().All() {
			for _, scope := range resource.ScopeSpans().All() {
				for _, span := range scope.Spans().All() {
					id := span.TraceID().String()
					if traces[id] == nil {
						traces[id] = &kept{}
					}
					traces[id].Spans++
					traces[id].AtMs = time.Now().UnixMilli()
				}
			}
		}
		return nil
	})
	must(err)

	var policy map[string]any
	must(json.Unmarshal([]byte(os.Args[2]), &policy))
	sampling := tailsamplingprocessor.NewFactory()
	samplingConfig := sampling.CreateDefaultConfig()
	must(confmap.NewFromStringMap(policy).Unmarshal(samplingConfig))
	sampler, err := sampling.CreateTraces(ctx, processor.Settings{
		ID:                component.NewID(sampling.Type()),
		TelemetrySettings: componenttest.NewNopTelemetrySettings(),
		BuildInfo:         component.NewDefaultBuildInfo(),
	}, samplingConfig, sink)
	must(err)
	must(sampler.Start(ctx, componenttest.NewNopHost()))

	otlp := otlpreceiver.NewFactory()
	otlpConfig := otlp.CreateDefaultConfig()
	must(confmap.NewFromStringMap(map[string]any{
		"protocols": map[string]any{"http": map[string]any{"endpoint": os.Args[1]}},
	}).Unmarshal(otlpConfig))
	server, err := otlp.CreateTraces(ctx, receiver.Settings{
		ID:                component.NewID(otlp.Type()),
		TelemetrySettings: componenttest.NewNopTelemetrySettings(),
		BuildInfo:         component.NewDefaultBuildInfo(),
	}, otlpConfig, sampler)
	must(err)
	must(server.Start(ctx, componenttest.NewNopHost()))
	fmt.Println("ready")

	for questions := bufio.NewScanner(os.Stdin); questions.Scan(); {
		guard.Lock()
		answer, err := json.Marshal(traces)
		guard.Unlock()
		must(err)
		fmt.Println(string(answer))
	}
}

func must(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
