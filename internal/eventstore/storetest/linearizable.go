package storetest

import (
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/internal/eventstore"
)

// call is an operation on one stream: an append at an expected version, or a read
// of the version.
type call struct {
	read     bool
	expected int64
}

// answer is the version after the operation, or that it was a conflict.
type answer struct {
	version  domain.Sequence
	conflict bool
}

// streamModel is a stream as one thread would see it: a counter that an append
// raises if its expectation holds.
var streamModel = porcupine.Model{
	Init: func() any { return domain.Sequence(0) },
	Step: func(state, input, output any) (bool, any) {
		v, in, out := state.(domain.Sequence), input.(call), output.(answer)
		if in.read {
			return out.version == v, v
		}
		if in.expected != eventstore.Any && in.expected != int64(v) {
			return out.conflict && out.version == v, v
		}
		return !out.conflict && out.version == v+1, v + 1
	},
}

func linearizable(t *testing.T, s eventstore.Store) {
	const clients, each = 8, 25
	stream := Stream("run")
	began := time.Now()
	var mu sync.Mutex
	var history []porcupine.Operation
	var group sync.WaitGroup
	for client := range clients {
		group.Go(func() {
			seen := domain.Sequence(0)
			for i := range each {
				in := call{read: i%4 == 3, expected: int64(seen)}
				if i%5 == 0 {
					in.expected = eventstore.Any
				}
				start := time.Since(began)
				out, err := perform(t, s, stream, in)
				end := time.Since(began)
				if err != nil {
					t.Errorf("%+v: %v", in, err)
					return
				}
				seen = out.version
				mu.Lock()
				history = append(history, porcupine.Operation{
					ClientId: client, Input: in, Output: out, Call: start.Nanoseconds(), Return: end.Nanoseconds(),
				})
				mu.Unlock()
			}
		})
	}
	group.Wait()
	if res := porcupine.CheckOperationsTimeout(streamModel, history, 20*time.Second); res != porcupine.Ok {
		t.Fatalf("the history of %d operations is %s", len(history), res)
	}
}

func perform(t *testing.T, s eventstore.Store, stream domain.StreamID, in call) (answer, error) {
	if in.read {
		records, err := s.ReadStream(t.Context(), stream, 0, 10_000)
		return answer{version: domain.Sequence(len(records))}, err
	}
	r, err := s.Append(t.Context(), To(stream, in.expected, 1))
	var c *eventstore.ConflictError
	if errors.As(err, &c) {
		return answer{version: c.Actual, conflict: true}, nil
	}
	if err != nil {
		return answer{}, err
	}
	return answer{version: r.Streams[0].Version}, nil
}
