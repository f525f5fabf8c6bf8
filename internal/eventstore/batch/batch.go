// Package batch decides a batch of appends against what is committed: which are
// carried out, with which sequences, positions and hashes, and which are refused.
//
// It is pure and shared by every store, so that the simulation decides as
// production does. It must not know a database, a clock or a goroutine, and
// imports domain, events and the contract. Start at Batch.Add.
package batch

import (
	"bytes"
	"errors"
	"time"

	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/events"
	"github.com/hishamos/hishamos/internal/eventstore"
)

// CommandKey is a command id of a tenant.
type CommandKey struct {
	Tenant  domain.Tenant
	Command domain.CommandID
}

// ClaimKey is a unique key of a tenant.
type ClaimKey struct {
	Tenant domain.Tenant
	Kind   string
	Key    string
}

// Done is a command that was carried out. A nil body matches any.
type Done struct {
	Body    []byte
	Receipt eventstore.Receipt
}

// Known is what is committed. A store that would have to ask first may answer
// optimistically, if its tables refuse the batch should the answer be wrong.
type Known interface {
	// Version returns a stream's version, 0 if it does not exist; false if the
	// store would have to ask.
	Version(domain.StreamID) (domain.Sequence, bool)
	Command(CommandKey) (Done, bool)
	Claimed(ClaimKey) bool
}

// ErrNotKnown says that Known could not tell a version that the decision needs.
var ErrNotKnown = errors.New("version of the stream is not known")

// Stream is the head of a stream that the batch changes.
type Stream struct {
	ID      domain.StreamID
	Version domain.Sequence
	Open    bool // no append of the batch closed it
	New     bool // it did not exist before the batch
}

// Command is a command id that the batch records.
type Command struct {
	CommandKey
	Done
}

// Claim is what the batch leaves of a key.
type Claim struct {
	ClaimKey
	Taken    bool
	New      bool // taken, and free before the batch
	Stream   domain.StreamID
	Position domain.Position
}

// Batch collects what a transaction has to write.
type Batch struct {
	Base     eventstore.Head // before the batch
	Head     eventstore.Head // after it
	Records  [][]events.Record
	Streams  []*Stream
	Commands []Command
	Claims   []*Claim
	// Unproven says that a key was taken and given back within the batch, so that
	// no table would refuse it if Known was wrong about the key.
	Unproven bool

	now      time.Time
	known    Known
	streams  map[domain.StreamID]*Stream
	commands map[CommandKey]int
	claims   map[ClaimKey]*Claim
	chains   map[*eventstore.Chain]int64 // writes of each in this batch
}

// New begins a batch after a head. Its events are recorded at now, or at their
// predecessor's instant if the clock went back.
func New(head eventstore.Head, now time.Time, known Known) *Batch {
	now = now.UTC().Truncate(time.Microsecond)
	if now.Before(head.Recorded) {
		now = head.Recorded
	}
	return &Batch{
		Base: head, Head: head, now: now, known: known,
		streams:  make(map[domain.StreamID]*Stream),
		commands: make(map[CommandKey]int),
		claims:   make(map[ClaimKey]*Claim),
	}
}

// Empty reports whether there is nothing to write.
func (b *Batch) Empty() bool { return len(b.Commands) == 0 }

// Committed must be called when the batch has committed, before anything further
// is decided.
func (b *Batch) Committed() {
	for c, n := range b.chains {
		c.Carry(n)
	}
}

// Add decides one append. An error leaves the batch as it was; the receipt holds
// once the batch is committed.
func (b *Batch) Add(a eventstore.Append) (eventstore.Receipt, error) {
	key := CommandKey{a.Tenant, a.Command}
	if done, ok := b.done(key); ok {
		if a.Body != nil && done.Body != nil && !bytes.Equal(a.Body, done.Body) {
			return eventstore.Receipt{}, eventstore.ErrBodyMismatch
		}
		r := done.Receipt
		r.Replayed, r.Records = true, nil
		return r, nil
	}
	if err := b.checkVersions(a.Writes); err != nil {
		return eventstore.Receipt{}, err
	}
	if err := b.checkClaims(a); err != nil {
		return eventstore.Receipt{}, err
	}
	r := b.write(a)
	b.claim(a, r)
	b.commands[key] = len(b.Commands)
	b.Commands = append(b.Commands, Command{key, Done{a.Body, r}})
	return r, nil
}

func (b *Batch) done(key CommandKey) (Done, bool) {
	if i, ok := b.commands[key]; ok {
		return b.Commands[i].Done, true
	}
	return b.known.Command(key)
}

func (b *Batch) version(id domain.StreamID) (domain.Sequence, bool) {
	if s, ok := b.streams[id]; ok {
		return s.Version, true
	}
	return b.known.Version(id)
}

func (b *Batch) checkVersions(writes []eventstore.Write) error {
	for _, w := range writes {
		v, ok := b.version(w.Stream)
		switch {
		case !ok && (w.Expected != eventstore.Absent || len(w.Events) == 0):
			return ErrNotKnown // the tables would not refuse a wrong guess
		case w.Expected != eventstore.Any && w.Expected != int64(v), b.unlinked(w):
			return &eventstore.ConflictError{Stream: w.Stream, Expected: w.Expected, Actual: v}
		}
	}
	return nil
}

// unlinked reports whether a write that comes before this one in its chain was not
// carried out.
func (b *Batch) unlinked(w eventstore.Write) bool {
	return w.Chain != nil && w.Link != w.Chain.Carried()+b.chains[w.Chain]
}

// write gives the events their places and seals them.
func (b *Batch) write(a eventstore.Append) eventstore.Receipt {
	count := 0
	for _, w := range a.Writes {
		count += len(w.Events)
	}
	r := eventstore.Receipt{Recorded: b.now, Streams: make([]eventstore.StreamVersion, 0, len(a.Writes))}
	if count > 0 {
		r.First, r.Last = b.Head.Position+1, b.Head.Position+domain.Position(count)
		r.Records = make([]events.Record, 0, count)
		b.Head.Recorded = b.now
	}
	claims := ClaimsJSON(a.Claims)
	for _, w := range a.Writes {
		v, _ := b.version(w.Stream)
		for _, p := range w.Events {
			v++
			b.Head.Position++
			rec := events.Record{Envelope: b.envelope(a, w.Stream, v, p), Data: p.Data, Known: p.Known}
			rec.Index, rec.Count, rec.Claims = len(r.Records), count, claims
			claims = "" // the first event of an append carries them
			rec.Seal(b.Head.Hash)
			b.Head.Hash = rec.Hash
			r.Records = append(r.Records, rec)
		}
		if len(w.Events) > 0 {
			b.touch(w, v)
		}
		if w.Chain != nil {
			if b.chains == nil {
				b.chains = make(map[*eventstore.Chain]int64)
			}
			b.chains[w.Chain]++
		}
		r.Streams = append(r.Streams, eventstore.StreamVersion{Stream: w.Stream, Version: v})
	}
	if count > 0 {
		b.Records = append(b.Records, r.Records)
	}
	return r
}

func (b *Batch) envelope(a eventstore.Append, s domain.StreamID, v domain.Sequence, p eventstore.Proposed) events.Envelope {
	t := p.Time.UTC().Truncate(time.Microsecond)
	if p.Time.IsZero() {
		t = b.now
	}
	return events.Envelope{
		LogID: b.Head.LogID, Generation: b.Head.Generation,
		Type: p.Type, Version: p.Version, Stream: s, Sequence: v, Position: b.Head.Position,
		Time: t, Recorded: b.now,
		Correlation: a.Correlation, Causation: a.Causation, Command: a.Command,
		Actor: a.Actor, DecidedBy: a.DecidedBy, ForkedFrom: p.ForkedFrom,
		TraceParent: a.TraceParent, KeyIDs: p.KeyIDs,
	}
}

// touch records the head of a stream that got events.
func (b *Batch) touch(w eventstore.Write, v domain.Sequence) {
	s, ok := b.streams[w.Stream]
	if !ok {
		s = &Stream{ID: w.Stream, New: int(v) == len(w.Events), Open: true}
		b.streams[w.Stream] = s
		b.Streams = append(b.Streams, s)
	}
	s.Version, s.Open = v, s.Open && !w.Closes
}
