package projection

import (
	"context"
	"errors"
	"time"

	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/internal/log"
)

// Build is one filling of a projection's tables. Rows carry its number, so a
// new one is built beside the live one in the same tables.
type Build struct {
	Projection string
	Version    int
	Number     int
}

// Checkpoint is how far a build is in a partition. It is written with the rows.
type Checkpoint struct {
	Partition log.Partition
	Position  domain.Position // of the last event applied
	Mark      domain.Position // every event up to here is applied
	Epoch     int             // of the Kafka log that Offset belongs to
	Offset    int64           // of the next record; -1: not known
	// Batch counts the commits. A commit names the number it follows: commits do
	// not wait for the disk, so a crash of the database can take the newest, and
	// whoever did not notice must not go on from what is no longer there.
	Batch int64
}

// OwnedMark is a mark with the fence of the partition's owner.
type OwnedMark struct {
	Build     Build
	Fence     int64
	Batch     int64 // the newest commit that the mark builds on
	Partition log.Partition
	Mark      domain.Position
}

// Past is a superseded row and the positions between which it held: from From
// up to and not including To.
type Past struct {
	Row      any
	From, To domain.Position
}

// Versioned is a row and since when it holds.
type Versioned struct {
	Row  any
	From domain.Position
	New  bool // nothing with its key was loaded or written before; a hint
}

// TableChanges is what a batch does to one table.
type TableChanges struct {
	Table *Schema
	Puts  []Versioned
	Past  []Past
	Sums  []any // for counters, in the order of their keys
}

// Parked is a stream that a projection has stopped following, because an event
// of it could not be applied. Its later events wait with it.
type Parked struct {
	Stream    domain.StreamID
	Sequence  domain.Sequence // of the event that failed
	Position  domain.Position
	Type      string
	Cause     string
	At        time.Time
	Requested bool // Requeue was asked for
}

// Changes is everything one batch writes, in one transaction.
type Changes struct {
	Build      Build
	Fence      int64
	Checkpoint Checkpoint
	Tables     []TableChanges
	Park       []Parked
	Unpark     []domain.StreamID
	// DryRun writes nothing and only tells whether it could.
	DryRun bool
}

var (
	// ErrFenced says that another owner has taken the partition, that the build is
	// no longer live, or that the database lost the commit before. Nothing was
	// written; open the partition again.
	ErrFenced = errors.New("partition is owned by another runner, or its newest commit was lost")
	// ErrData says that the rows themselves were refused.
	ErrData = errors.New("rows were refused")
	// ErrBehind says that a new build has not reached the live one.
	ErrBehind = errors.New("build is behind the live one")
)

// Store keeps rows, checkpoints and builds. Its methods are atomic.
type Store interface {
	// Live returns the build that queries see.
	Live(ctx context.Context, projection string, version int) (b Build, ok bool, err error)
	// Begin makes a new, empty build with one checkpoint that belongs to no
	// partition, and owns it.
	Begin(ctx context.Context, projection string, version int) (b Build, fence int64, err error)
	// Switch makes a build live, with these checkpoints, and fences the one
	// before. It is ErrBehind while that one is further in any partition.
	Switch(ctx context.Context, b Build, fence int64, checkpoints []Checkpoint) error
	// Discard gives a build up and removes its rows. It must not be live.
	Discard(ctx context.Context, b Build, tables []*Schema) error
	// Stale returns the builds that are not live and still have rows. Whoever
	// asks holds the lock on building, so none of them is under way.
	Stale(ctx context.Context, projection string, version int) ([]Build, error)
	// Own makes the caller the owner of a partition: commits with an older fence
	// fail from now on.
	Own(ctx context.Context, b Build, p log.Partition) (Checkpoint, int64, error)
	// Load returns the rows with the keys of the examples, those that exist.
	Load(ctx context.Context, b Build, t *Schema, examples []any) ([]Versioned, error)
	// Commit writes a batch, or nothing: ErrFenced, ErrData or a passing failure.
	Commit(ctx context.Context, c Changes) error
	// Checkpoints returns those of a build.
	Checkpoints(ctx context.Context, b Build) ([]Checkpoint, error)
	// Marks raises the marks of owned partitions; a fence that is no longer valid
	// is passed over.
	Marks(ctx context.Context, marks []OwnedMark) error
	// Parked returns the parked streams of a build.
	Parked(ctx context.Context, b Build) ([]Parked, error)
	// Request marks a parked stream to be requeued; false: it is not parked.
	Request(ctx context.Context, b Build, s domain.StreamID) (bool, error)
	// Scan calls each for every row of a build, in any order; with past, for the
	// rows of the history.
	Scan(ctx context.Context, b Build, t *Schema, past bool, each func(row any, from, to domain.Position) error) error
	// Attend notes that a process is there and returns how many are whose name
	// begins with the same part, up to a slash; a hint for sharing partitions.
	Attend(ctx context.Context, process string) (int, error)
}

// Preparer is a Store that makes a batch ready while the one before it is written.
type Preparer interface {
	// Prepare returns what Commit would do; it is called once, or not at all.
	Prepare(ctx context.Context, c Changes) (commit func() error, err error)
}
