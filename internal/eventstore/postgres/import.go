package postgres

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/events"
	"github.com/hishamos/hishamos/internal/eventstore"
	"github.com/hishamos/hishamos/internal/eventstore/batch"
	"github.com/hishamos/hishamos/internal/failpoint"
	"github.com/hishamos/hishamos/internal/pg"
)

// Import appends sealed records of another copy of this log as they are, in one
// transaction; see Importer.
func (s *Store) Import(ctx context.Context, records []events.Record) (imported int, err error) {
	i := s.Importer()
	if imported, err = i.Add(ctx, records); err == nil {
		err = i.Wait()
	}
	if err != nil {
		return 0, err
	}
	return imported, nil
}

// Importer appends sealed records of another copy of this log as they are, each
// batch in one transaction, after checking that they follow the head and hold.
// While one batch is written, the next is checked. Stream heads, command ids
// (without body digests) and claims are derived from the envelopes; an empty store
// takes the log id of the first record.
//
// The head's generation becomes that of the last record; SetGeneration raises it
// when the import is complete. An Importer is used by one goroutine, and no more
// after an error.
type Importer struct {
	store   *Store
	head    eventstore.Head // after all that was added; its log id is empty before
	types   rowTypes
	known   committedState // of the streams that were added to lately
	closed  map[domain.StreamID]bool
	writing chan error // nil: nothing is
}

// Importer returns an importer that goes on from the head.
func (s *Store) Importer() *Importer {
	i := &Importer{store: s}
	i.forget()
	return i
}

// rememberedStreams bounds the streams whose versions an import keeps.
const rememberedStreams = 100_000

func (i *Importer) forget() {
	i.known = committedState{versions: make(map[domain.StreamID]domain.Sequence)}
	i.closed = make(map[domain.StreamID]bool)
}

// imported is a batch that was checked.
type imported struct {
	batch   *batch.Batch
	form    shape
	params  [][]byte
	formats []int16
}

// Add checks records and begins to write them. Only whole appends are taken: it
// returns how many records, and the caller offers the rest again with what follows
// them. All that was added before is committed when it returns, unless the error
// says otherwise.
func (i *Importer) Add(ctx context.Context, records []events.Record) (taken int, err error) {
	records = records[:batch.Whole(records)]
	if len(records) == 0 {
		return 0, i.Wait()
	}
	fault := func(err error) error {
		return fmt.Errorf("import events from %d: %w", records[0].Position, err)
	}
	next, refused := i.check(ctx, records)
	if err := i.Wait(); err != nil {
		return 0, err
	}
	if refused != nil {
		return 0, fault(refused)
	}
	if len(i.known.versions) > rememberedStreams {
		i.forget() // all of them are in the tables by now
		i.remember(next.batch)
	}
	i.writing = make(chan error, 1)
	go func(writing chan<- error) {
		err := i.store.importBatch(ctx, next)
		if err != nil {
			err = fault(err)
		}
		writing <- err
	}(i.writing)
	return len(records), nil
}

// Wait returns when all that was added is committed, or why it is not.
func (i *Importer) Wait() error {
	if i.writing == nil {
		return nil
	}
	err := <-i.writing
	i.writing = nil
	return err
}

// check makes a batch of records that follow all that was added.
func (i *Importer) check(ctx context.Context, records []events.Record) (next imported, err error) {
	if i.head.LogID == "" {
		if i.types, err = readRowTypes(ctx, i.store.pool); err != nil {
			return next, err
		}
		if err := scanHead(i.store.pool.QueryRow(ctx, headSQL), &i.head); err != nil {
			return next, err
		}
		if i.head.Position == 0 {
			i.head.LogID, i.head.Generation = records[0].LogID, records[0].Generation
		}
	}
	if err := i.store.appender.makers.need(ctx, int64(records[len(records)-1].Position)); err != nil {
		return next, err
	}
	if err := i.readHeads(ctx, records); err != nil {
		return next, err
	}
	b := batch.New(i.head, i.head.Recorded, i.known)
	err = b.Restore(records, func(r *events.Record) bool {
		t, ok := events.Lookup(r.Type)
		return i.closed[r.Stream] || ok && t.Closes
	})
	if err != nil {
		return next, err
	}
	i.head = b.Head
	i.remember(b)
	b.Base.Generation = b.Head.Generation // see importBatch
	next.batch = b
	// A statement of its own: the one before may be under way.
	next.form, next.params, next.formats, err = newStatement(i.types).bind(b)
	return next, err
}

func (i *Importer) remember(b *batch.Batch) {
	for _, s := range b.Streams {
		i.known.versions[s.ID], i.closed[s.ID] = s.Version, !s.Open
	}
}

// readHeads reads those of streams that are not known. None of them is in what is
// being written.
func (i *Importer) readHeads(ctx context.Context, records []events.Record) error {
	var streams []string
	for n := range records {
		id := records[n].Stream
		if _, known := i.known.versions[id]; !known {
			i.known.versions[id] = 0
			streams = append(streams, string(id))
		}
	}
	const sql = `select stream, version, open from stream_heads where stream = any($1::text[])`
	rows, err := i.store.keyed.Query(ctx, sql, streams)
	if err != nil {
		return err
	}
	var id domain.StreamID
	var v domain.Sequence
	var open bool
	_, err = pgx.ForEachRow(rows, []any{&id, &v, &open}, func() error {
		i.known.versions[id], i.closed[id] = v, !open
		return nil
	})
	return err
}

func (s *Store) importBatch(ctx context.Context, next imported) error {
	err := pg.InTx(ctx, s.pool, pgx.TxOptions{}, func(tx pgx.Tx) error {
		// The statement compares what the row holds, so these come first.
		const sql = `update log set log_id = $1, generation = $2 where one`
		if _, err := tx.Exec(ctx, sql, next.batch.Head.LogID, next.batch.Head.Generation); err != nil {
			return err
		}
		result := tx.Conn().PgConn().ExecParams(ctx, next.form.sql(), next.params, nil, next.formats, nil).Read()
		if result.Err == nil && len(result.Rows) == 0 {
			return errMoved
		}
		if result.Err != nil {
			return result.Err
		}
		return failpoint.Err("import.before_commit")
	})
	if err != nil {
		return err
	}
	failpoint.Hit("import.after_commit")
	s.signal()
	return nil
}

// Settings are what the log's one row says beside its head.
type Settings struct {
	LogID      string
	Generation int // raised when the store was rebuilt from Kafka
	Epoch      int // of the log on Kafka
	Level      int // highest level of event types that may be written
}

// Settings reads the log's settings.
func (s *Store) Settings(ctx context.Context) (Settings, error) {
	var o Settings
	const sql = `select log_id::text, generation, epoch, level from log where one`
	if err := s.pool.QueryRow(ctx, sql).Scan(&o.LogID, &o.Generation, &o.Epoch, &o.Level); err != nil {
		return o, fmt.Errorf("read settings of the log: %w", err)
	}
	return o, nil
}

// errNotRaised says that a setting that only grows was to shrink.
var errNotRaised = errors.New("it can only be raised")

// SetGeneration raises the generation that later events carry in `source`.
func (s *Store) SetGeneration(ctx context.Context, generation int) error {
	return s.raise(ctx, "generation", `update log set generation = $1 where one and generation < $1`, generation)
}

// SetEpoch raises the epoch of the log on Kafka, when the store was rebuilt from
// it.
func (s *Store) SetEpoch(ctx context.Context, epoch int) error {
	return s.raise(ctx, "epoch", `update log set epoch = $1 where one and epoch < $1`, epoch)
}

// SetLevel raises the level of event types that may be written.
func (s *Store) SetLevel(ctx context.Context, level int) error {
	return s.raise(ctx, "level", `update log set level = $1 where one and level < $1`, level)
}

func (s *Store) raise(ctx context.Context, what, sql string, to int) error {
	tag, err := s.pool.Exec(ctx, sql, to)
	if err == nil && tag.RowsAffected() == 0 {
		err = errNotRaised
	}
	if err != nil {
		return fmt.Errorf("set %s of the log to %d: %w", what, to, err)
	}
	return nil
}

// NewEpoch begins a new epoch of the log on Kafka and returns it.
func (s *Store) NewEpoch(ctx context.Context) (epoch int, err error) {
	const sql = `update log set epoch = epoch + 1 where one returning epoch`
	if err := s.pool.QueryRow(ctx, sql).Scan(&epoch); err != nil {
		return 0, fmt.Errorf("begin a new epoch: %w", err)
	}
	return epoch, nil
}
