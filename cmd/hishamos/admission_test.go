package main

import (
	"encoding/json"
	"errors"
	"log/slog"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/hishamos/hishamos/commands"
	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/internal/embedded"
	"github.com/hishamos/hishamos/internal/eventstore"
	"github.com/hishamos/hishamos/internal/pg/pgtest"
	"github.com/hishamos/hishamos/projections"
)

func TestWithKafkaDownForLongNewWorkIsRefusedAndTheRestGoesOn(t *testing.T) {
	t.Parallel()
	b, err := embedded.StartBroker(t.Context(), embedded.BrokerOptions{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	stopped := false
	t.Cleanup(func() {
		if !stopped {
			b.Stop()
		}
	})
	const limit = 60
	d := &drill{t: t, database: pgtest.URL(t), kafka: b.Addr(), set: []string{"HISHAMOS_RELAY_LAG_LIMIT=60", "HISHAMOS_MIN_FREE_DISK=0MB"}}
	p := d.start((*node).runRelay, (*node).runProjections)
	open := p.fill(2)
	p.quiesce()
	down := p.position()
	b.Stop()
	stopped = true

	try := func(c commands.Command) error {
		_, err := p.dispatcher.Do(t.Context(), commands.Request{ID: domain.CommandID(uuid.NewString()), Principal: system("test"), Command: c})
		return err
	}
	for { // accepted, as long as the limit is not reached
		p.judge(t.Context()) // as watchLimits does from time to time
		if err = try(startDrill(drillRun())); err != nil {
			break
		}
		if p.position() > down+2*limit {
			t.Fatalf("%d events wait to be published and new work is still let in", p.position()-down)
		}
	}
	if !errors.Is(err, eventstore.ErrBusy) || domain.KindOf(err) != domain.Unavailable || !strings.Contains(err.Error(), "wait to be published") {
		t.Fatalf("new work above the limit: %v", err)
	}
	if p.position() < down+limit {
		t.Errorf("new work was refused with %d events that wait, the limit is %d", p.position()-down, limit)
	}
	p.must(try(completeDrill(open[0], "two")))
	p.must(try(commands.CancelRun{Run: open[1], Reason: "enough"}))
	rows := projections.Runs{DB: p.rows.Of(domain.DefaultTenant)}
	if _, err := rows.Get(t.Context(), domain.DefaultTenant, domain.RunID(open[0].Entity()), 0); err != nil {
		t.Errorf("a query: %v", err)
	}
}

func TestAnEventAndAnAppendHoldNoMoreThanTheSettingsSay(t *testing.T) {
	t.Parallel()
	p := newDrill(t, "HISHAMOS_EVENT_LIMIT=4096", "HISHAMOS_APPEND_LIMIT=8192").start()
	big := startDrill(drillRun())
	big.Definition.Parameters = []domain.Parameter{{Name: "in", Type: "text"}}
	text, err := json.Marshal(strings.Repeat("x", 5000))
	p.must(err)
	big.Inputs = map[string]json.RawMessage{"in": text} // lies in the blob store
	p.do(big)
	big.Run, big.Definition.Description = drillRun(), strings.Repeat("x", 5000)
	_, err = p.dispatcher.Do(t.Context(), commands.Request{ID: "one", Principal: system("test"), Command: big})
	if !errors.Is(err, eventstore.ErrTooLarge) || domain.KindOf(err) != domain.TooLarge {
		t.Errorf("an event of 5,000 bytes with a limit of 4,096: %v", err)
	}
}
