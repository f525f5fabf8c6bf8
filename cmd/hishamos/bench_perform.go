package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"runtime/pprof"
	"strings"

	"github.com/spf13/cobra"

	"github.com/hishamos/hishamos/commands"
	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/internal/worker"
)

// benchOptions are what `bench` asks of the servers it starts. A server without
// them does as ever.
type benchOptions struct {
	result  int    // bytes that a no-op step answers with; 0: its input
	effects string // file to which each no-op step writes a line
	profile string // file for a profile of the CPU
}

func (o *benchOptions) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.IntVar(&o.result, "bench-result", 0, "bytes that a no-op step answers with")
	f.StringVar(&o.effects, "bench-effects", "", "file to which each no-op step writes a line")
	f.StringVar(&o.profile, "bench-cpuprofile", "", "file for a profile of the CPU")
	for _, name := range []string{"bench-result", "bench-effects", "bench-cpuprofile"} {
		f.Lookup(name).Hidden = true
	}
}

// profiled runs something with a profile of the CPU, if one is wanted.
func (o benchOptions) profiled(do func() error) (err error) {
	if o.profile == "" {
		return do()
	}
	f, err := os.Create(o.profile)
	if err != nil {
		return fmt.Errorf("write profile: %w", err)
	}
	if err := pprof.StartCPUProfile(f); err != nil {
		return errors.Join(fmt.Errorf("write profile: %w", err), f.Close())
	}
	defer func() {
		pprof.StopCPUProfile()
		err = errors.Join(err, f.Close())
	}()
	return do()
}

// perform is how no-op steps are done: they come to a worker like all others and
// leave a line for each time they were done.
func (o benchOptions) perform(next worker.Perform) (worker.Perform, error) {
	if o.result == 0 && o.effects == "" {
		return next, nil
	}
	var effects *os.File
	if o.effects != "" {
		var err error
		if effects, err = os.OpenFile(o.effects, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600); err != nil {
			return nil, fmt.Errorf("open effects: %w", err)
		}
	}
	output, err := json.Marshal(map[string]any{"ok": true, "pad": strings.Repeat("x", max(0, o.result-len(`{"ok":true,"pad":""}`)))})
	if err != nil {
		return nil, fmt.Errorf("encode result: %w", err)
	}
	return func(ctx context.Context, w domain.Work) commands.Run {
		if w.Kind != domain.NoopStep {
			return next(ctx, w)
		}
		result := commands.StepResult{Run: w.Stream, Path: w.Path, Attempt: w.Attempt}
		if effects != nil {
			if _, err := fmt.Fprintf(effects, "%s %s\n", w.Stream, w.Path); err != nil {
				return commands.FailStep{StepResult: result, Fault: domain.Fault{Code: "bench.effect", Message: err.Error(), Final: true}}
			}
		}
		return commands.CompleteStep{StepResult: result, Output: output, Started: clock{}.Now()}
	}, nil
}
