package events

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/hishamos/hishamos/domain"
)

// Envelope holds the attributes of an event that are stored and hashed. Names
// on the wire are those of CloudEvents 1.0 and, for ours, legal extensions of
// it; see Attributes.
type Envelope struct {
	LogID       string // the log's UUID
	Generation  int    // raised when the store was rebuilt from Kafka
	Type        string
	Version     int // of the event's shape; part of dataschema
	Stream      domain.StreamID
	Sequence    domain.Sequence
	Position    domain.Position
	Time        time.Time // when it happened
	Recorded    time.Time // given by the appender, never before its predecessor's
	Correlation string    // the command that began it all
	Causation   string    // the event or command that led directly to it
	Command     domain.CommandID
	Index       int    // within the append, from 0
	Count       int    // events in the append
	Claims      string // RFC 8785 JSON, or empty
	Actor       string // RFC 8785 JSON: the chain, originator first
	DecidedBy   string // RFC 8785 JSON: engine, template, price table …, or empty
	ForkedFrom  string
	TraceParent string
	KeyIDs      string // RFC 8785 JSON: the keys that sealed fields, or empty
}

// Record is an event as it is stored: envelope, exact data bytes and its place
// in the hash chain.
type Record struct {
	Envelope
	Data     []byte
	PrevHash Hash
	Hash     Hash
	Known    Known // what Data says, where it was written or read a moment ago
}

// ID is `<stream>/<sequence>`.
func (e Envelope) ID() domain.EventID {
	return domain.EventID(string(e.Stream) + "/" + strconv.FormatUint(uint64(e.Sequence), 10))
}

// How the values of source and dataschema begin.
const (
	sourcePrefix = "/hishamos/"
	schemaPrefix = "/schema/events/"
)

// Source is `/hishamos/<log id>/<generation>`.
func (e Envelope) Source() string { return sourcePrefix + e.LogID + "/" + strconv.Itoa(e.Generation) }

// DataSchema is `/schema/events/<type>.v<n>.json`.
func (e Envelope) DataSchema() string {
	return schemaPrefix + e.Type + ".v" + strconv.Itoa(e.Version) + ".json"
}

// Attribute is one named value of an envelope; absent attributes are hashed
// differently from empty ones.
type Attribute struct {
	Name    string
	Value   string
	Present bool
}

// timeFormat is RFC 3339 in UTC with exactly six decimals.
const timeFormat = "2006-01-02T15:04:05.000000Z"

// FormatTime renders an instant as envelopes do: UTC, whole microseconds.
func FormatTime(t time.Time) string {
	var room [len(timeFormat)]byte
	return string(appendTime(room[:0], t))
}

// appendTime writes the digits itself: every event is rendered several times, and
// a layout is read anew each time.
func appendTime(b []byte, t time.Time) []byte {
	t = t.UTC()
	year, month, day := t.Date()
	if year < 0 || year > 9999 {
		return t.AppendFormat(b, timeFormat)
	}
	hour, minute, second := t.Clock()
	b = append(appendDigits(b, year, 4), '-')
	b = append(appendDigits(b, int(month), 2), '-')
	b = append(appendDigits(b, day, 2), 'T')
	b = append(appendDigits(b, hour, 2), ':')
	b = append(appendDigits(b, minute, 2), ':')
	b = append(appendDigits(b, second, 2), '.')
	return append(appendDigits(b, t.Nanosecond()/1000, 6), 'Z')
}

// appendDigits writes a number with leading zeros.
func appendDigits(b []byte, v, digits int) []byte {
	n := len(b)
	b = append(b, "000000"[:digits]...)
	for i := n + digits - 1; v > 0; i-- {
		b[i] = byte('0' + v%10)
		v /= 10
	}
	return b
}

// attributeCount is the number of hashed attributes before data.
const attributeCount = 21

// Attributes returns the hashed attributes in their fixed order. The order and
// the forms are part of the hash rule and cannot change. What is rendered lies in
// one string, of which the values are parts.
func (e Envelope) Attributes() [attributeCount]Attribute {
	var room [384]byte
	b := append(append(room[:0], e.Stream...), '/')
	b = strconv.AppendUint(b, uint64(e.Sequence), 10)
	id := len(b)
	b = append(append(append(b, sourcePrefix...), e.LogID...), '/')
	b = strconv.AppendInt(b, int64(e.Generation), 10)
	source := len(b)
	b = append(append(append(b, schemaPrefix...), e.Type...), ".v"...)
	b = append(strconv.AppendInt(b, int64(e.Version), 10), ".json"...)
	schema := len(b)
	b = strconv.AppendUint(b, uint64(e.Position), 10)
	position := len(b)
	b = appendTime(b, e.Time)
	at := len(b)
	b = appendTime(b, e.Recorded)
	all := string(b)

	must := func(n, v string) Attribute { return Attribute{n, v, true} }
	may := func(n, v string) Attribute { return Attribute{n, v, v != ""} }
	num := func(n string, v int) Attribute { return Attribute{n, strconv.Itoa(v), true} } // small: one of a table
	return [attributeCount]Attribute{
		must("id", all[:id]),
		must("source", all[id:source]),
		must("type", e.Type),
		must("dataschema", all[source:schema]),
		must("tenant", string(e.Stream.Tenant())),
		must("stream", string(e.Stream)),
		must("sequence", all[len(e.Stream)+1:id]),
		must("position", all[schema:position]),
		must("time", all[position:at]),
		must("recorded", all[at:]),
		may("correlation", e.Correlation),
		may("causation", e.Causation),
		may("command", string(e.Command)),
		num("index", e.Index),
		num("count", e.Count),
		may("claims", e.Claims),
		may("actor", e.Actor),
		may("decidedby", e.DecidedBy),
		may("forkedfrom", e.ForkedFrom),
		may("traceparent", e.TraceParent),
		may("keyids", e.KeyIDs),
	}
}

// ParseAttributes is the inverse of Attributes: it rebuilds an envelope from
// named values and refuses what Attributes would not have written.
func ParseAttributes(value func(name string) (string, bool)) (Envelope, error) {
	var e Envelope
	var firstErr error
	text := func(name string) string { v, _ := value(name); return v }
	num := func(name string) uint64 {
		v, err := strconv.ParseUint(text(name), 10, 64)
		if err != nil && firstErr == nil {
			firstErr = fmt.Errorf("attribute %s: %q is not a number", name, text(name))
		}
		return v
	}
	instant := func(name string) time.Time {
		// This layout has a fast way, and allows more; the comparison at the end does not.
		t, err := time.Parse(time.RFC3339Nano, text(name))
		if err != nil && firstErr == nil {
			firstErr = fmt.Errorf("attribute %s: %q is not an instant", name, text(name))
		}
		return t
	}
	rest, ours := strings.CutPrefix(text("source"), sourcePrefix)
	logID, generation, parted := strings.Cut(rest, "/")
	if !ours || !parted {
		return e, fmt.Errorf("attribute source: %q is not /hishamos/<log>/<generation>", text("source"))
	}
	schema := text("dataschema")
	v := strings.LastIndex(schema, ".v")
	if v < 0 || !strings.HasSuffix(schema, ".json") {
		return e, fmt.Errorf("attribute dataschema: %q has no version", schema)
	}
	e.LogID = logID
	var err error
	if e.Generation, err = strconv.Atoi(generation); err != nil {
		return e, fmt.Errorf("attribute source: %q has no generation", text("source"))
	}
	if e.Version, err = strconv.Atoi(strings.TrimSuffix(schema[v+2:], ".json")); err != nil {
		return e, fmt.Errorf("attribute dataschema: %q has no version", schema)
	}
	e.Type = text("type")
	e.Stream = domain.StreamID(text("stream"))
	e.Sequence = domain.Sequence(num("sequence"))
	e.Position = domain.Position(num("position"))
	e.Time, e.Recorded = instant("time"), instant("recorded")
	e.Correlation, e.Causation = text("correlation"), text("causation")
	e.Command = domain.CommandID(text("command"))
	e.Index, e.Count = int(num("index")), int(num("count"))
	e.Claims, e.Actor, e.DecidedBy = text("claims"), text("actor"), text("decidedby")
	e.ForkedFrom, e.TraceParent, e.KeyIDs = text("forkedfrom"), text("traceparent"), text("keyids")
	if firstErr != nil {
		return e, firstErr
	}
	for _, a := range e.Attributes() {
		if got, ok := value(a.Name); ok != a.Present || got != a.Value {
			return e, fmt.Errorf("attribute %s: %q is not in its canonical form %q", a.Name, got, a.Value)
		}
	}
	return e, nil
}
