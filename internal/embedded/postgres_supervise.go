package embedded

import (
	"context"
	"log/slog"
	"time"
)

const (
	firstDelay   = 100 * time.Millisecond
	longestDelay = 10 * time.Second
	steadyAfter  = time.Minute // a server that ran so long is restarted without delay
)

// Supervise restarts the server whenever it ends, at the same address and with
// everything that was committed, until ctx ends or Stop is called; then it
// returns nil. It returns an error when a restart can never succeed, because
// the data is damaged.
func (p *Postgres) Supervise(ctx context.Context, log *slog.Logger) error {
	began, delay := time.Now(), time.Duration(0)
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-p.stopping:
			return nil
		case <-p.Done():
		}
		if p.stopped() {
			return nil
		}
		log.Warn("embedded postgres ended", "error", p.Err())
		ended := time.Now()
		if ended.Sub(began) > steadyAfter {
			delay = 0
		}
		for {
			select {
			case <-time.After(delay):
			case <-ctx.Done():
				return nil
			case <-p.stopping:
				return nil
			}
			delay = min(max(2*delay, firstDelay), longestDelay)
			if _, err := p.inspect(); err != nil {
				return err
			}
			err := p.start(ctx)
			if err == nil {
				break
			}
			if p.stopped() || ctx.Err() != nil {
				return nil
			}
			log.Error("embedded postgres does not start", "error", err, "retry_in", delay)
		}
		began = time.Now()
		log.Info("embedded postgres is back", "took", began.Sub(ended))
	}
}
