package reaction

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/events"
	"github.com/hishamos/hishamos/internal/log"
	"github.com/hishamos/hishamos/internal/pg"
)

// Requeue names an event that a reaction is to handle again.
type Requeue struct {
	Stream   domain.StreamID
	Sequence domain.Sequence
	Position domain.Position
}

// Requeues holds what the operator wants to be handled again.
type Requeues interface {
	// Waiting returns what is asked of a reaction, in the order of positions.
	Waiting(ctx context.Context, reaction string) ([]Requeue, error)
	// Done takes one away: it was handled, or is a dead letter again.
	Done(ctx context.Context, reaction string, r Requeue) error
}

// PostgresRequeues is the table reaction_requeue.
type PostgresRequeues struct{ Pool pg.Writer }

const addRequeues = `insert into reaction_requeue (reaction, position, stream, sequence)
select $1, * from unnest($2::bigint[], $3::text[], $4::bigint[]) on conflict do nothing`

// Add asks for events to be handled again.
func (q PostgresRequeues) Add(ctx context.Context, reaction string, list []Requeue) error {
	var streams []string
	var positions, sequences []int64
	for _, r := range list {
		streams = append(streams, string(r.Stream))
		positions, sequences = append(positions, int64(r.Position)), append(sequences, int64(r.Sequence))
	}
	if _, err := q.Pool.Exec(ctx, addRequeues, reaction, positions, streams, sequences); err != nil {
		return fmt.Errorf("requeue for %s: %w", reaction, err)
	}
	return nil
}

// Waiting implements Requeues.
func (q PostgresRequeues) Waiting(ctx context.Context, reaction string) ([]Requeue, error) {
	const sql = `select stream, sequence, position from reaction_requeue where reaction = $1 order by position`
	rows, err := q.Pool.Query(ctx, sql, reaction)
	if err != nil {
		return nil, fmt.Errorf("read what is requeued for %s: %w", reaction, err)
	}
	return pgx.CollectRows(rows, pgx.RowToStructByPos[Requeue])
}

// Done implements Requeues.
func (q PostgresRequeues) Done(ctx context.Context, reaction string, r Requeue) error {
	const sql = `delete from reaction_requeue where reaction = $1 and position = $2`
	if _, err := q.Pool.Exec(ctx, sql, reaction, r.Position); err != nil {
		return fmt.Errorf("take %d from what is requeued for %s: %w", r.Position, reaction, err)
	}
	return nil
}

// requeued returns what is asked of this reaction; the workers of its partitions
// share one look per interval.
func (s *subscriber) requeued(ctx context.Context) ([]Requeue, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if time.Since(s.asked) < s.opts.Save {
		return s.asks, nil
	}
	asks, err := s.opts.Requeues.Waiting(ctx, s.reaction.Name)
	if err != nil {
		return nil, err
	}
	s.asks, s.asked = asks, time.Now()
	return asks, nil
}

// tend hands out again what the operator asked for, as far as it is in this
// partition: one event of a stream at a time, and none beside a fresh one.
func (w *worker) tend(ctx context.Context) error {
	if w.s.opts.Requeues == nil {
		return nil
	}
	asks, err := w.s.requeued(ctx)
	if err != nil {
		return err
	}
	mine := w.s.inPartitions([]log.Partition{w.partition})
	tried := make(map[domain.StreamID]bool)
	for _, r := range asks {
		if !mine(r.Stream) || tried[r.Stream] || w.again[r.Stream] != (Requeue{}) {
			continue
		}
		tried[r.Stream] = true
		if err := w.redeliver(ctx, r); err != nil {
			return err
		}
	}
	return nil
}

func (w *worker) redeliver(ctx context.Context, r Requeue) error {
	page, err := w.s.opts.Store.ReadStream(ctx, r.Stream, r.Sequence-1, 1)
	if err != nil {
		return err
	}
	if len(page) == 0 || page[0].Position != r.Position {
		return w.s.opts.Requeues.Done(ctx, w.s.reaction.Name, r) // no event of this log
	}
	e, err := w.feed.decode(&page[0])
	if err != nil {
		if err := w.s.opts.bury(w.s.reaction.Name, page[0].Envelope, page[0].Data, err); err != nil {
			return err
		}
		return w.s.opts.Requeues.Done(ctx, w.s.reaction.Name, r)
	}
	if w.feed.redeliver(e) {
		w.again[r.Stream] = r
	}
	return nil
}

// settleRequeue takes note that an event was handled, if it was one handed out again.
func (w *worker) settleRequeue(ctx context.Context, e events.Recorded[events.Event]) {
	r, ok := w.again[e.Stream]
	if !ok || r.Position != e.Position {
		return
	}
	delete(w.again, r.Stream)
	if err := w.s.opts.Requeues.Done(ctx, w.s.reaction.Name, r); err != nil {
		w.s.opts.Logger.Warn("it will be handled once more", "handler", w.s.reaction.Name, "stream", r.Stream, "position", r.Position, "error", err)
		return
	}
	w.s.mu.Lock()
	w.s.asked = time.Time{} // what was read before is no longer true
	w.s.mu.Unlock()
}

// Letter is an event that a reaction could not handle.
type Letter struct {
	Offset   int64           `json:"offset"` // in the dead-letter topic
	ID       domain.EventID  `json:"id"`
	Type     string          `json:"type"`
	Stream   domain.StreamID `json:"stream"`
	Sequence domain.Sequence `json:"sequence"`
	Position domain.Position `json:"position"`
	Cause    string          `json:"cause"`
}

// Letters returns a reaction's dead letters that were not requeued, in order.
func Letters(ctx context.Context, l log.Log, reaction string) ([]Letter, error) {
	p := log.Partition{Topic: DeadLetterTopic(reaction)}
	topics, err := l.Topics(ctx, p.Topic)
	if err != nil || topics[p.Topic] == 0 {
		return nil, err
	}
	bounds, err := l.Bounds(ctx, p)
	if err != nil {
		return nil, err
	}
	from := bounds[p].First
	if offsets, ok := l.(log.Offsets); ok {
		committed, err := offsets.CommittedOffsets(ctx, p.Topic, p)
		if err != nil {
			return nil, err
		}
		from = max(from, committed[p].Offset)
	}
	end := bounds[p].End
	if from >= end {
		return nil, nil
	}
	r, err := l.Open(ctx, p, from)
	if err != nil {
		return nil, err
	}
	list, err := readLetters(ctx, r, end)
	return list, errors.Join(err, r.Close())
}

func readLetters(ctx context.Context, r log.Reader, end int64) ([]Letter, error) {
	var list []Letter
	for next := int64(0); next < end; {
		page, err := r.Poll(1000)
		if err != nil {
			return list, err
		}
		for _, m := range page {
			if next = m.Offset + 1; next > end {
				return list, nil
			}
			letter, err := letterOf(m)
			if err != nil {
				return list, err
			}
			list = append(list, letter)
		}
		if len(page) == 0 {
			select {
			case <-r.Ready():
			case <-ctx.Done():
				return list, ctx.Err()
			}
		}
	}
	return list, nil
}

func letterOf(m log.Message) (Letter, error) {
	text := func(name string) string { v, _ := m.Header(name); return v }
	sequence, err := strconv.ParseUint(text("ce_sequence"), 10, 64)
	position, perr := strconv.ParseUint(text("ce_position"), 10, 64)
	if err := errors.Join(err, perr); err != nil {
		return Letter{}, fmt.Errorf("read dead letter at offset %d: %w", m.Offset, err)
	}
	return Letter{
		Offset: m.Offset, ID: domain.EventID(text("ce_id")), Type: text("ce_type"), Stream: domain.StreamID(text("ce_stream")),
		Sequence: domain.Sequence(sequence), Position: domain.Position(position), Cause: text("cause"),
	}, nil
}

// Answered notes that letters up to an offset were requeued.
func Answered(ctx context.Context, l log.Log, reaction string, through int64) error {
	offsets, ok := l.(log.Offsets)
	if !ok {
		return errors.New("this log keeps no offsets")
	}
	topic := DeadLetterTopic(reaction)
	return offsets.CommitOffsets(ctx, topic, map[log.Partition]log.Resume{{Topic: topic}: {Offset: through + 1}})
}
