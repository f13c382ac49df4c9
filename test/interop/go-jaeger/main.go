// Reads an answer of the collector's as Jaeger's own query service writes it, and writes it again: standard input to standard output.
// It fails where a field is unknown to Jaeger's types, or has another type.
package main

import (
	"encoding/json"
	"fmt"
	"os"

	ui "github.com/jaegertracing/jaeger/model/json"
)

// As in Jaeger's cmd/query/app/http_handler.go, where it isn't exported.
type answer[D any] struct {
	Data   []D     `json:"data"`
	Total  int     `json:"total"`
	Limit  int     `json:"limit"`
	Offset int     `json:"offset"`
	Errors []fault `json:"errors"`
}

type fault struct {
	Code    int        `json:"code,omitempty"`
	Msg     string     `json:"msg"`
	TraceID ui.TraceID `json:"traceID,omitempty"`
}

func copyAnswer[D any]() error {
	decoder := json.NewDecoder(os.Stdin)
	decoder.DisallowUnknownFields()
	decoder.UseNumber()
	var read answer[D]
	if err := decoder.Decode(&read); err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(read)
}

func main() {
	readers := map[string]func() error{
		"services":     copyAnswer[string],
		"operations":   copyAnswer[ui.Operation],
		"traces":       copyAnswer[ui.Trace],
		"dependencies": copyAnswer[ui.DependencyLink],
	}
	if err := readers[os.Args[1]](); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
