package batch

import (
	"fmt"

	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/events"
	"github.com/hishamos/hishamos/internal/eventstore"
)

// RestoreError names the first record that cannot be put back.
type RestoreError struct {
	Position domain.Position
	Reason   string
}

func (e *RestoreError) Error() string { return fmt.Sprintf("position %d: %s", e.Position, e.Reason) }

// Whole returns how many of the records belong to appends that are there to
// their last event.
func Whole(records []events.Record) int {
	n := 0
	for n < len(records) {
		count := max(records[n].Count, 1)
		if n+count > len(records) {
			break
		}
		n += count
	}
	return n
}

// Restore puts sealed records back as they are: whole appends, which must follow
// the head and each other. Heads, command ids and claims are derived from the
// envelopes; closes says whether a stream waits for nothing after a record.
func (b *Batch) Restore(records []events.Record, closes func(*events.Record) bool) error {
	for len(records) > 0 {
		n := Whole(records[:min(len(records), max(records[0].Count, 1))])
		if n == 0 {
			return &RestoreError{records[0].Position, "the append is not whole"}
		}
		if err := b.restoreAppend(records[:n:n], closes); err != nil {
			return err
		}
		records = records[n:]
	}
	return nil
}

func (b *Batch) restoreAppend(records []events.Record, closes func(*events.Record) bool) error {
	first := &records[0]
	var order []domain.StreamID
	for i := range records {
		r := &records[i]
		refuse := func(format string, args ...any) error {
			return &RestoreError{r.Position, fmt.Sprintf(format, args...)}
		}
		if err := r.Follows(b.Head.Position, b.Head.Hash); err != nil {
			return err
		}
		switch {
		case r.LogID != b.Head.LogID:
			return refuse("it is of log %s, not of %s", r.LogID, b.Head.LogID)
		case r.Generation < b.Head.Generation:
			return refuse("generation %d after %d", r.Generation, b.Head.Generation)
		case r.Recorded.Before(b.Head.Recorded):
			return refuse("it was recorded before its predecessor")
		case r.Index != i || r.Count != len(records) || r.Command != first.Command:
			return refuse("it is event %d of %d of command %s, expected %d of %d of %s", r.Index, r.Count, r.Command, i, len(records), first.Command)
		case r.Claims != "" && i > 0:
			return refuse("claims on another than the first event of an append")
		}
		v, _ := b.version(r.Stream)
		if r.Sequence != v+1 {
			return refuse("sequence %d of stream %s, expected %d", r.Sequence, r.Stream, v+1)
		}
		b.Head.Position, b.Head.Hash, b.Head.Recorded, b.Head.Generation = r.Position, r.Hash, r.Recorded, r.Generation
		s, ok := b.streams[r.Stream]
		if !ok {
			s = &Stream{ID: r.Stream, Open: true}
			b.streams[r.Stream] = s
			b.Streams = append(b.Streams, s)
		}
		s.Version, s.Open = r.Sequence, s.Open && !closes(r)
		if len(order) == 0 || order[len(order)-1] != r.Stream {
			order = append(order, r.Stream)
		}
	}
	b.Records = append(b.Records, records)
	return b.restoreTables(records, order)
}

func (b *Batch) restoreTables(records []events.Record, order []domain.StreamID) error {
	first, last := &records[0], &records[len(records)-1]
	claims, err := ParseClaims(first.Claims)
	if err != nil {
		return &RestoreError{first.Position, err.Error()}
	}
	r := eventstore.Receipt{First: first.Position, Last: last.Position, Recorded: first.Recorded}
	for _, id := range order {
		r.Streams = append(r.Streams, eventstore.StreamVersion{Stream: id, Version: b.streams[id].Version})
	}
	key := CommandKey{first.Stream.Tenant(), first.Command}
	b.commands[key] = len(b.Commands)
	b.Commands = append(b.Commands, Command{key, Done{Receipt: r}})
	b.claim(eventstore.Append{
		Tenant: key.Tenant, Writes: []eventstore.Write{{Stream: first.Stream}}, Claims: claims,
	}, r)
	for _, c := range b.Claims {
		c.New = false // whatever the table says, the log is right
	}
	return nil
}
