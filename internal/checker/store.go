package checker

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"
)

// event is a row of the table of events.
type event struct {
	Position    uint64
	LogID       string
	Generation  int
	Stream      string
	Sequence    uint64
	Tenant      string
	Type        string
	Version     int
	Time        time.Time
	Recorded    time.Time
	Correlation string
	Causation   string
	Command     string
	Index       int
	Count       int
	Claims      string
	Actor       string
	DecidedBy   string
	ForkedFrom  string
	TraceParent string
	KeyIDs      string
	Data        []byte
	PrevHash    []byte
	Hash        []byte
}

// receipt is a row of the table of commands.
type receipt struct {
	First, Last uint64
	Streams     string
}

const (
	readEvents = `select position, log_id::text, generation, stream, sequence, tenant, type, version, time, recorded,
	correlation, causation, command, index, count, claims, actor, decidedby, forkedfrom, traceparent, keyids, data, prevhash, hash
	from events order by position`
	readCommands = `select tenant || ' ' || command, first, last, streams from commands`
	readHeads    = `select stream, version from stream_heads`
	readLog      = `select position, hash from log`
)

// readStore reads the tables in one snapshot.
func (st *story) readStore(ctx context.Context) error {
	conn, err := pgx.Connect(ctx, st.sources.Database)
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx)) //nolint:errcheck // everything was read
	tx, err := conn.BeginTx(ctx, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly})
	if err != nil {
		return err
	}
	defer tx.Rollback(context.WithoutCancel(ctx)) //nolint:errcheck // nothing was written
	rows, err := tx.Query(ctx, readEvents)
	if err != nil {
		return err
	}
	if st.events, err = pgx.CollectRows(rows, pgx.RowToStructByPos[event]); err != nil {
		return err
	}
	for i := range st.events {
		e := &st.events[i]
		st.byStream[e.Stream] = append(st.byStream[e.Stream], e)
	}
	st.report.Events, st.report.Streams = len(st.events), len(st.byStream)

	st.commands = map[string]receipt{}
	if rows, err = tx.Query(ctx, readCommands); err != nil {
		return err
	}
	var id string
	var r receipt
	if _, err = pgx.ForEachRow(rows, []any{&id, &r.First, &r.Last, &r.Streams}, func() error { st.commands[id] = r; return nil }); err != nil {
		return err
	}
	st.heads = map[string]uint64{}
	if rows, err = tx.Query(ctx, readHeads); err != nil {
		return err
	}
	var version uint64
	if _, err = pgx.ForEachRow(rows, []any{&id, &version}, func() error { st.heads[id] = version; return nil }); err != nil {
		return err
	}
	var position uint64
	var hash []byte
	if err := tx.QueryRow(ctx, readLog).Scan(&position, &hash); err != nil {
		return err
	}
	if n := len(st.events); n > 0 && (st.events[n-1].Position != position || string(st.events[n-1].Hash) != string(hash)) {
		st.report.violated(Chained, "the log says it ends at %d %x, its last event is %d %x", position, hash, st.events[n-1].Position, st.events[n-1].Hash)
	}
	return nil
}
