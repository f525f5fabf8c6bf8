package postgres

import (
	"strconv"
	"strings"

	"github.com/google/uuid"

	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/internal/eventstore"
	"github.com/hishamos/hishamos/internal/eventstore/batch"
)

// channel is where every commit that wrote is announced.
const channel = "hishamos_events"

// tables are the arrays of the statement, in the order of its parameters after
// the scalars. Streams and claims are split by a flag: what must be new is a
// plain insert, so that the primary key refuses the whole statement when it is
// not; the rest is written whatever it was. Neither needs a plan that depends on
// how large the table is.
var tables = []struct {
	name    string
	columns []struct {
		name string
		oid  uint32
	}
}{
	{"events", []struct {
		name string
		oid  uint32
	}{
		{"position", oidInt8},
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
	{"commands", []struct {
		name string
		oid  uint32
	}{
		{"tenant", oidText},
		{"command", oidText},
		{"body", oidBytea},
		{"first", oidInt8},
		{"last", oidInt8},
		{"recorded", oidTimestamptz},
		{"streams", oidText},
	}},
	{"stream_heads", []struct {
		name string
		oid  uint32
	}{
		{"stream", oidText}, {"kind", oidText}, {"version", oidInt8}, {"open", oidBool}, {"isnew", oidBool},
	}},
	{"claims", []struct {
		name string
		oid  uint32
	}{
		{"tenant", oidText},
		{"kind", oidText},
		{"key", oidText},
		{"stream", oidText},
		{"position", oidInt8},
		{"taken", oidBool},
		{"isnew", oidBool},
	}},
}

// scalars are the parameters before the arrays: the new position, hash and
// instant, the position, hash and generation they must follow, and the log id.
const scalars = 7

// shape says which form of the statement a batch needs. Tables that get one row
// take it as plain parameters, which spares the server unpacking arrays: more
// than half of the cost when one append waits.
type shape struct {
	oneEvent  bool
	oneAppend bool // one command and one stream, no claims
	claims    bool
	streams   novelty
}

// novelty says which streams of a batch did not exist before it.
type novelty int

const (
	someNew novelty = iota
	allNew
	noneNew
)

// shapes are all forms there are.
var shapes = []shape{
	{},
	{claims: true},
	{streams: allNew},
	{streams: noneNew},
	{oneAppend: true, streams: allNew},
	{oneAppend: true, streams: noneNew},
	{oneAppend: true, oneEvent: true, streams: allNew},
	{oneAppend: true, oneEvent: true, streams: noneNew},
}

// shapeOf returns the form for a batch of n events.
func shapeOf(b *batch.Batch, n int) shape {
	if len(b.Claims) > 0 {
		return shape{claims: true}
	}
	fresh := 0
	for _, s := range b.Streams {
		if s.New {
			fresh++
		}
	}
	one := len(b.Commands) == 1 && len(b.Streams) == 1
	form := shape{oneAppend: one, oneEvent: one && n == 1}
	switch fresh {
	case len(b.Streams):
		form.streams = allNew
	case 0:
		form.streams = noneNew
	}
	return form
}

// name is that of the prepared statement.
func (s shape) name() string {
	name := "write"
	for _, part := range []struct {
		is   bool
		name string
	}{{s.oneEvent, " event"}, {s.oneAppend, " append"}, {s.streams == allNew, " new"}, {s.streams == noneNew, " old"}, {s.claims, " claims"}} {
		if part.is {
			name += part.name
		}
	}
	return name
}

// one reports whether a table gets its row as plain parameters.
func (s shape) one(table int) bool {
	return table == 0 && s.oneEvent || table > 0 && s.oneAppend
}

// sql is the statement. It changes the head only if it is where the batch began,
// and everything else only if it changed the head; it answers one row if it did,
// and announces the commit.
func (s shape) sql() string {
	var names, rows [4]string // the columns of each table, and a query of its rows
	param := scalars
	for i, t := range tables {
		var params, columns []string
		for _, c := range t.columns {
			param++
			typ := typeName(c.oid)
			if !s.one(i) {
				typ += "[]"
			}
			params = append(params, "$"+strconv.Itoa(param)+"::"+typ)
			columns = append(columns, c.name)
		}
		names[i] = strings.Join(columns, ", ")
		if s.one(i) {
			rows[i] = " from head, (values (" + strings.Join(params, ", ") + ")) as u (" + names[i] + ")"
		} else {
			rows[i] = " from head, unnest(" + strings.Join(params, ", ") + ") as u (" + names[i] + ")"
		}
	}
	const (
		heads  = `stream, kind, version, open`
		upsert = ` on conflict (stream) do update set version = excluded.version, open = stream_heads.open and excluded.open`
		keys   = `tenant, kind, key, stream, position`
	)
	sql := `with head as (
	update log set position = $1::int8, hash = $2::bytea, recorded = $3::timestamptz
	where one and position = $4::int8 and hash = $5::bytea and generation = $6::int4 and log_id = $7::uuid returning 1
), e as (
	insert into events (log_id, ` + names[0] + `) select $7::uuid, ` + names[0] + rows[0] + `
), c as (
	insert into commands (` + names[1] + `) select ` + names[1] + rows[1] + `
)`
	if s.streams != noneNew {
		sql += `, s as (
	insert into stream_heads (` + heads + `) select ` + heads + rows[2] + ` where isnew
)`
	}
	if s.streams != allNew {
		sql += `, t as (
	insert into stream_heads (` + heads + `) select ` + heads + rows[2] + ` where not isnew` + upsert + `
)`
	}
	if s.claims {
		sql += `, k as (
	insert into claims (` + keys + `) select ` + keys + rows[3] + ` where taken and isnew
), l as (
	insert into claims (` + keys + `) select ` + keys + rows[3] + ` where taken and not isnew
	on conflict (tenant, kind, key) do update set stream = excluded.stream, position = excluded.position
), m as (
	delete from claims where (tenant, kind, key) in (select tenant, kind, key` + rows[3] + ` where not taken)
)`
	}
	return sql + ` select pg_notify('` + channel + `', $1::text) from head`
}

func typeName(oid uint32) string {
	return map[uint32]string{
		oidBool: "bool", oidBytea: "bytea", oidInt8: "int8", oidInt4: "int4", oidText: "text", oidTimestamptz: "timestamptz",
	}[oid]
}

// statement turns batches into parameters. It is reused, and so are its buffers.
type statement struct {
	columns [4][]column
	params  [][]byte
	binary  []int16 // the format of every parameter
}

func newStatement() *statement {
	s := &statement{}
	for i, t := range tables {
		s.columns[i] = make([]column, len(t.columns))
		for j, c := range t.columns {
			s.columns[i][j].oid = c.oid
		}
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
	for i := range s.columns {
		for j := range s.columns[i] {
			s.columns[i][j].reset()
		}
	}
	for _, records := range b.Records {
		for i := range records {
			r := &records[i]
			c := s.columns[0]
			c[0].int8(int64(r.Position))
			c[1].int4(r.Generation)
			c[2].text(string(r.Stream))
			c[3].int8(int64(r.Sequence))
			c[4].text(string(r.Stream.Tenant()))
			c[5].text(r.Type)
			c[6].int4(r.Version)
			c[7].time(r.Time)
			c[8].time(r.Recorded)
			c[9].text(r.Correlation)
			c[10].text(r.Causation)
			c[11].text(string(r.Command))
			c[12].int4(r.Index)
			c[13].int4(r.Count)
			c[14].text(r.Claims)
			c[15].text(r.Actor)
			c[16].text(r.DecidedBy)
			c[17].text(r.ForkedFrom)
			c[18].text(r.TraceParent)
			c[19].text(r.KeyIDs)
			c[20].bytes(r.Data)
			c[21].bytes(r.PrevHash[:])
			c[22].bytes(r.Hash[:])
		}
	}
	for i := range b.Commands {
		k := &b.Commands[i]
		c := s.columns[1]
		c[0].text(string(k.Tenant))
		c[1].text(string(k.Command))
		c[2].bytesOrNull(k.Body)
		c[3].int8(int64(k.Receipt.First))
		c[4].int8(int64(k.Receipt.Last))
		c[5].time(k.Receipt.Recorded)
		c[6].text(formatStreams(k.Receipt))
	}
	for _, h := range b.Streams {
		c := s.columns[2]
		c[0].text(string(h.ID))
		c[1].text(h.ID.Kind())
		c[2].int8(int64(h.Version))
		c[3].bool(h.Open)
		c[4].bool(h.New)
	}
	for _, k := range b.Claims {
		c := s.columns[3]
		c[0].text(string(k.Tenant))
		c[1].text(k.Kind)
		c[2].text(k.Key)
		c[3].text(string(k.Stream))
		c[4].int8(int64(k.Position))
		c[5].bool(k.Taken)
		c[6].bool(k.New)
	}
	form = shapeOf(b, int(s.columns[0][0].n))
	used := s.columns[:3]
	if form.claims {
		used = s.columns[:]
	}
	s.params = append(s.params[:0],
		int8Param(int64(b.Head.Position)), b.Head.Hash[:], int8Param(microseconds(b.Head.Recorded)),
		int8Param(int64(b.Base.Position)), b.Base.Hash[:], int4Param(b.Base.Generation), logID[:])
	for i, columns := range used {
		for j := range columns {
			if form.one(i) {
				s.params = append(s.params, columns[j].single())
			} else {
				s.params = append(s.params, columns[j].finish())
			}
		}
	}
	for len(s.binary) < len(s.params) {
		s.binary = append(s.binary, 1)
	}
	return form, s.params, s.binary[:len(s.params)], nil
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
