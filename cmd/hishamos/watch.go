package main

import (
	"context"
	"time"

	"github.com/hishamos/hishamos/commands"
	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/internal/telemetry"
	"github.com/hishamos/hishamos/internal/telemetry/tracing"
)

// watched counts and times commands, whoever asks: people, workers, timers,
// reactions.
type watched struct {
	metrics *telemetry.Metrics
	next    commands.Dispatcher
}

// Do implements commands.Dispatcher.
func (w watched) Do(ctx context.Context, r commands.Request) (commands.Receipt, error) {
	began := time.Now()
	receipt, err := w.next.Do(ctx, r)
	outcome := "ok"
	if err != nil {
		outcome = string(domain.KindOf(err))
	}
	w.metrics.Command(r.Command.CommandName(), outcome, time.Since(began))
	return receipt, err
}

// openTracer begins to keep traces, if the settings name a collector.
func (n *node) openTracer(ctx context.Context) error {
	if n.cfg.TraceAddress() == "" {
		return nil
	}
	tracer, stop, err := tracing.Open(ctx, tracing.Options{
		URL: n.cfg.TraceAddress(), Service: n.cfg.TraceService, Version: version, Instance: n.id,
		Sampler: string(n.cfg.TraceSampler), Ratio: float64(n.cfg.TraceRatio), Logger: n.logger,
	})
	if err != nil {
		return err
	}
	n.tracer = tracer
	n.onClose(stop)
	return nil
}
