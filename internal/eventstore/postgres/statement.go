package postgres

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/google/uuid"

	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/events"
	"github.com/hishamos/hishamos/internal/eventstore"
	"github.com/hishamos/hishamos/internal/eventstore/batch"
	"github.com/hishamos/hishamos/internal/pg"
)

// channel is where every commit that wrote is announced.
const channel = "hishamos_events"

// tables are what a batch writes, with their columns in the order in which rows
// are bound. Streams and claims are split: what must be new is a plain insert, so
// that the primary key refuses the whole statement when it is not; the rest is
// written whatever it was. Neither needs a plan that depends on how large the
// table is.
var tables = [...]struct {
	name    string
	columns []column
}{
	{"events", []column{
		{"position", oidInt8},
		{"log_id", oidUUID},
		{"generation", oidInt4},
		{"stream", oidText},
		{"sequence", oidInt8},
		{"tenant", oidText},
		{"type", oidText},
		{"version", oidInt4},
		{"time", oidTimestamptz},
		{"recorded", oidTimestamptz},
		{"correlation", oidText},
		{"causation", oidText},
		{"command", oidText},
		{"index", oidInt4},
		{"count", oidInt4},
		{"claims", oidText},
		{"actor", oidText},
		{"decidedby", oidText},
		{"forkedfrom", oidText},
		{"traceparent", oidText},
		{"keyids", oidText},
		{"data", oidBytea},
		{"prevhash", oidBytea},
		{"hash", oidBytea},
	}},
	{"commands", []column{
		{"tenant", oidText},
		{"command", oidText},
		{"body", oidBytea},
		{"first", oidInt8},
		{"last", oidInt8},
		{"recorded", oidTimestamptz},
		{"streams", oidText},
	}},
	{"stream_heads", []column{
		{"stream", oidText}, {"kind", oidText}, {"version", oidInt8}, {"open", oidBool},
	}},
	{"claims", []column{
		{"tenant", oidText}, {"kind", oidText}, {"key", oidText}, {"stream", oidText}, {"position", oidInt8},
	}},
}

// part is one of the arrays of the statement, numbered in the order of its
// parameters after the scalars.
type part int

const (
	commandRows part = iota
	newStreams
	oldStreams
	newClaims
	oldClaims   // taken before, and again
	freedClaims // given back
	eventRows   // last, because they are most: what comes before them is not copied to make room
	partCount
)

// tableOf is the table whose rows a part has.
var tableOf = [partCount]int{eventRows: 0, commandRows: 1, newStreams: 2, oldStreams: 2, newClaims: 3, oldClaims: 3, freedClaims: 3}

// scalars are the parameters before the arrays: the new position, hash and
// instant, the position, hash and generation they must follow, and the log id.
const scalars = 7

// shape says which form of the statement a batch needs: which of the parts
// beside events and commands it has.
type shape struct {
	claims  bool
	streams novelty
}

// novelty says which streams of a batch did not exist before it.
type novelty int

const (
	someNew novelty = iota
	allNew
	noneNew
)

// shapes are all forms there are.
var shapes = []shape{{}, {claims: true}, {streams: allNew}, {streams: noneNew}}

// has reports whether a form has a part.
func (s shape) has(p part) bool {
	switch p {
	case newStreams:
		return s.streams != noneNew
	case oldStreams:
		return s.streams != allNew
	case newClaims, oldClaims, freedClaims:
		return s.claims
	}
	return true
}

// name is that of the prepared statement.
func (s shape) name() string {
	switch {
	case s.claims:
		return "write claims"
	case s.streams == allNew:
		return "write new"
	case s.streams == noneNew:
		return "write old"
	}
	return "write"
}

// sql is the statement. It changes the head only if it is where the batch began,
// and everything else only if it changed the head; it answers one row if it did,
// and announces the commit.
func (s shape) sql() string {
	var sql strings.Builder
	sql.WriteString(`with head as (
	update log set position = $1::int8, hash = $2::bytea, recorded = $3::timestamptz
	where one and position = $4::int8 and hash = $5::bytea and generation = $6::int4 and log_id = $7::uuid returning 1
)`)
	param := scalars
	for p := range partCount {
		if !s.has(p) {
			continue
		}
		param++
		t := tables[tableOf[p]]
		names := make([]string, len(t.columns))
		for i, c := range t.columns {
			names[i] = c.name
		}
		columns, from := strings.Join(names, ", "), fmt.Sprintf("head, unnest($%d::%s[]) u", param, t.name)
		if p == freedClaims {
			fmt.Fprintf(&sql, ", p%d as (delete from claims where (tenant, kind, key) in (select u.tenant, u.kind, u.key from %s))", p, from)
			continue
		}
		fmt.Fprintf(&sql, ", p%d as (insert into %s (%s) select u.%s from %s%s)",
			p, t.name, columns, strings.Join(names, ", u."), from, map[part]string{
				oldStreams: " on conflict (stream) do update set version = excluded.version, open = stream_heads.open and excluded.open",
				oldClaims:  " on conflict (tenant, kind, key) do update set stream = excluded.stream, position = excluded.position",
			}[p])
	}
	sql.WriteString(` select pg_notify('` + channel + `', $1::text) from head`)
	return sql.String()
}

// statement turns batches into parameters. It is reused, and so are its buffers.
type statement struct {
	parts  [partCount]rows
	params [][]byte
	binary [scalars + partCount]int16 // the format of every parameter
}

// rowTypes are those of the tables of a database.
type rowTypes [len(tables)]rowType

func readRowTypes(ctx context.Context, db pg.Querier) (types rowTypes, err error) {
	for i, t := range tables {
		if types[i], err = readRowType(ctx, db, t.name, t.columns); err != nil {
			return types, err
		}
	}
	return types, nil
}

func newStatement(types rowTypes) *statement {
	s := &statement{}
	for i := range s.binary {
		s.binary[i] = 1
	}
	for p := range s.parts {
		s.parts[p].rowType = types[tableOf[p]]
	}
	return s
}

// bind returns the form of the statement and its parameters, which hold until
// the next call.
func (s *statement) bind(b *batch.Batch) (form shape, params [][]byte, formats []int16, err error) {
	logID, err := uuid.Parse(b.Base.LogID)
	if err != nil {
		return form, nil, nil, err
	}
	for p := range s.parts {
		s.parts[p].reset()
	}
	to := &s.parts[eventRows]
	for _, records := range b.Records {
		for i := range records {
			to.event(&records[i], logID)
		}
	}
	to = &s.parts[commandRows]
	for i := range b.Commands {
		k := &b.Commands[i]
		to.row()
		to.text(string(k.Tenant))
		to.text(string(k.Command))
		to.bytesOrNull(k.Body)
		to.int8(int64(k.Receipt.First))
		to.int8(int64(k.Receipt.Last))
		to.time(k.Receipt.Recorded)
		to.text(formatStreams(k.Receipt))
		to.end()
	}
	for _, h := range b.Streams {
		to = &s.parts[oldStreams]
		if h.New {
			to = &s.parts[newStreams]
		}
		to.row()
		to.text(string(h.ID))
		to.text(h.ID.Kind())
		to.int8(int64(h.Version))
		to.bool(h.Open)
		to.end()
	}
	for _, k := range b.Claims {
		switch {
		case !k.Taken:
			to = &s.parts[freedClaims]
		case k.New:
			to = &s.parts[newClaims]
		default:
			to = &s.parts[oldClaims]
		}
		to.row()
		to.text(string(k.Tenant))
		to.text(k.Kind)
		to.text(k.Key)
		to.text(string(k.Stream))
		to.int8(int64(k.Position))
		to.end()
	}
	switch {
	case len(b.Claims) > 0:
		form.claims = true
	case s.parts[oldStreams].n == 0:
		form.streams = allNew
	case s.parts[newStreams].n == 0:
		form.streams = noneNew
	}
	s.params = append(s.params[:0],
		int8Param(int64(b.Head.Position)), b.Head.Hash[:], int8Param(microseconds(b.Head.Recorded)),
		int8Param(int64(b.Base.Position)), b.Base.Hash[:], int4Param(b.Base.Generation), logID[:])
	for p := range partCount {
		if form.has(p) {
			s.params = append(s.params, s.parts[p].array())
		}
	}
	return form, s.params, s.binary[:len(s.params)], nil
}

func (r *rows) event(e *events.Record, logID uuid.UUID) {
	r.row()
	r.int8(int64(e.Position))
	r.bytes(logID[:])
	r.int4(e.Generation)
	r.text(string(e.Stream))
	r.int8(int64(e.Sequence))
	r.text(string(e.Stream.Tenant()))
	r.text(e.Type)
	r.int4(e.Version)
	r.time(e.Time)
	r.time(e.Recorded)
	r.text(e.Correlation)
	r.text(e.Causation)
	r.text(string(e.Command))
	r.int4(e.Index)
	r.int4(e.Count)
	r.text(e.Claims)
	r.text(e.Actor)
	r.text(e.DecidedBy)
	r.text(e.ForkedFrom)
	r.text(e.TraceParent)
	r.text(e.KeyIDs)
	r.bytes(e.Data)
	r.bytes(e.PrevHash[:])
	r.bytes(e.Hash[:])
	r.end()
}

// formatStreams writes the streams of a receipt as their last events' ids. Of a
// single stream with events that id is the last event's own, and is left out.
func formatStreams(r eventstore.Receipt) string {
	if len(r.Streams) == 1 && r.Last > 0 {
		return ""
	}
	var out []byte
	for i, s := range r.Streams {
		if i > 0 {
			out = append(out, ' ')
		}
		out = append(append(out, s.Stream...), '/')
		out = strconv.AppendUint(out, uint64(s.Version), 10)
	}
	return string(out)
}

func parseStreams(text string) ([]eventstore.StreamVersion, error) {
	var out []eventstore.StreamVersion
	for part := range strings.FieldsSeq(text) {
		i := strings.LastIndexByte(part, '/')
		v, err := strconv.ParseUint(part[i+1:], 10, 63)
		if err != nil || i < 0 {
			return nil, &strconv.NumError{Func: "parseStreams", Num: part, Err: strconv.ErrSyntax}
		}
		out = append(out, eventstore.StreamVersion{Stream: domain.StreamID(part[:i]), Version: domain.Sequence(v)})
	}
	return out, nil
}
