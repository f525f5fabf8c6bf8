package checker

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"slices"
	"strconv"
	"time"
)

// attribute is one field of the hash rule.
type attribute struct{ name, value string }

// always are the attributes that are never absent.
var always = []string{"id", "source", "type", "dataschema", "tenant", "stream", "sequence", "position", "time", "recorded", "index", "count"}

// attributes are those of docs/reference/hash-rule.md, in its order.
func (e *event) attributes() []attribute {
	instant := func(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000000Z") }
	return []attribute{
		{"id", e.Stream + "/" + strconv.FormatUint(e.Sequence, 10)},
		{"source", fmt.Sprintf("/hishamos/%s/%d", e.LogID, e.Generation)},
		{"type", e.Type},
		{"dataschema", fmt.Sprintf("/schema/events/%s.v%d.json", e.Type, e.Version)},
		{"tenant", e.Tenant},
		{"stream", e.Stream},
		{"sequence", strconv.FormatUint(e.Sequence, 10)},
		{"position", strconv.FormatUint(e.Position, 10)},
		{"time", instant(e.Time)},
		{"recorded", instant(e.Recorded)},
		{"correlation", e.Correlation},
		{"causation", e.Causation},
		{"command", e.Command},
		{"index", strconv.Itoa(e.Index)},
		{"count", strconv.Itoa(e.Count)},
		{"claims", e.Claims},
		{"actor", e.Actor},
		{"decidedby", e.DecidedBy},
		{"forkedfrom", e.ForkedFrom},
		{"traceparent", e.TraceParent},
		{"keyids", e.KeyIDs},
	}
}

// leaf is the hash of one event without its place in the chain.
func (e *event) leaf() [32]byte {
	var b []byte
	for _, a := range e.attributes() {
		if a.value == "" && !slices.Contains(always, a.name) {
			b = binary.BigEndian.AppendUint32(b, 0xFFFFFFFF)
			continue
		}
		b = binary.BigEndian.AppendUint32(b, uint32(len(a.value)))
		b = append(b, a.value...)
	}
	b = binary.BigEndian.AppendUint32(b, uint32(len(e.Data)))
	return sha256.Sum256(append(b, e.Data...))
}

// chained is rule I3.
func (st *story) chained() {
	prev := make([]byte, 32)
	var recorded time.Time
	for i := range st.events {
		e := &st.events[i]
		if !bytes.Equal(e.PrevHash, prev) {
			st.report.violated(Chained, "position %d names another predecessor: %x, not %x", e.Position, e.PrevHash, prev)
		}
		leaf := e.leaf()
		if h := sha256.Sum256(append(slices.Clone(e.PrevHash), leaf[:]...)); !bytes.Equal(h[:], e.Hash) {
			st.report.violated(Chained, "position %d has hash %x, its content has %x", e.Position, e.Hash, h)
		}
		if e.Recorded.Before(recorded) {
			st.report.violated(Chained, "position %d was recorded at %s, before its predecessor", e.Position, e.Recorded)
		}
		prev, recorded = e.Hash, e.Recorded
	}
}

// dense is rule I2.
func (st *story) dense() {
	for i := range st.events {
		if want := uint64(i + 1); st.events[i].Position != want {
			st.report.violated(Dense, "position %d where %d should be", st.events[i].Position, want)
			break
		}
	}
	for stream, events := range st.byStream {
		for i, e := range events {
			if want := uint64(i + 1); e.Sequence != want {
				st.report.violated(Dense, "%s has sequence %d where %d should be", stream, e.Sequence, want)
				break
			}
		}
		if last := events[len(events)-1].Sequence; st.heads[stream] != last {
			st.report.violated(Dense, "%s ends at %d, its head says %d", stream, last, st.heads[stream])
		}
	}
	for stream, version := range st.heads {
		if st.byStream[stream] == nil {
			st.report.violated(Dense, "%s has a head at version %d and no events", stream, version)
		}
	}
}
