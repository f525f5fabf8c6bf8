package projection

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"strconv"
	"sync"
	"time"

	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/internal/log"
)

// The rhythm of Run.
const (
	assignEvery = 300 * time.Millisecond // look for partitions nobody follows
	sweepEvery  = 20 * time.Millisecond  // let idle partitions advance, while somebody waits here
	sweepRarely = 60 * time.Millisecond  // the same, while nobody does: it asks the broker
	saveEvery   = 100 * time.Millisecond // show marks to other processes
)

// Run follows every partition this process can get until the context ends. It
// takes partitions by lock, so several processes share them, and the partitions
// of a process that dies are free at once. It returns an error when the locks
// are lost: nothing of this process may go on then.
func (r *Runner) Run(ctx context.Context) error {
	if err := r.Prepare(ctx); err != nil {
		return err
	}
	ctx, stop := context.WithCancel(ctx)
	var followers sync.WaitGroup
	held := make(map[feedKey]*follower)
	defer func() {
		stop()
		followers.Wait()
		r.releaseAll(held)
	}()
	assign, sweep, save := time.NewTicker(assignEvery), time.NewTicker(sweepEvery), time.NewTicker(saveEvery)
	defer assign.Stop()
	defer sweep.Stop()
	defer save.Stop()
	if err := r.assign(ctx, held, &followers); err != nil {
		return err
	}
	for swept := time.Now(); ; {
		var err error
		select {
		case <-ctx.Done():
			return nil
		case <-r.locks.Lost():
			return errors.New("run projections: the locks are lost")
		case <-assign.C:
			err = r.assign(ctx, held, &followers)
		case now := <-sweep.C:
			if r.waiting.Load() > 0 || now.Sub(swept) >= sweepRarely {
				swept, err = now, r.Sweep(ctx)
			}
		case <-save.C:
			err = r.SaveMarks(ctx)
		}
		if err != nil && ctx.Err() == nil {
			// Databases and brokers come back; what was promised is not lost.
			r.logger.WarnContext(ctx, "projections: will try again", "error", err)
		}
	}
}

// follower is a goroutine that follows one partition for one projection.
type follower struct {
	stop context.CancelFunc
	done chan struct{}
}

func (k feedKey) lock(version int) string {
	return fmt.Sprintf("projection/%s/%d/%s", k.projection, version, k.partition)
}

// assign takes this process's share of the partitions and gives back what is
// over it.
func (r *Runner) assign(ctx context.Context, held map[feedKey]*follower, wg *sync.WaitGroup) error {
	processes, err := r.store.Attend(ctx, r.crew()+"/"+r.process)
	if err != nil {
		return err
	}
	topics, err := r.log.Topics(ctx, log.Prefix)
	if err != nil {
		return fmt.Errorf("list topics: %w", err)
	}
	var all []feedKey
	for _, name := range r.order {
		partitions, err := r.defs[name].partitions(topics)
		if err != nil {
			return err
		}
		r.editions[name].partitions.Store(int64(len(partitions)))
		for _, p := range partitions {
			all = append(all, feedKey{name, p})
		}
	}
	share := (len(all) + processes - 1) / max(processes, 1)
	for k, f := range held {
		if len(held) <= share {
			break
		}
		f.stop()
		<-f.done
		delete(held, k)
		if err := r.locks.Release(ctx, k.lock(r.defs[k.projection].Version)); err != nil {
			return err
		}
	}
	for _, k := range all {
		if len(held) >= share {
			break
		}
		if held[k] != nil {
			continue
		}
		got, err := r.locks.Try(ctx, k.lock(r.defs[k.projection].Version))
		if err != nil {
			return err
		}
		if !got {
			continue
		}
		one, stop := context.WithCancel(ctx)
		f := &follower{stop: stop, done: make(chan struct{})}
		held[k] = f
		wg.Go(func() {
			defer close(f.done)
			r.follow(one, k)
		})
	}
	return nil
}

// crew names the processes that share the same partitions: those with the same
// versions of the same projections. While two builds of the program run side by
// side, neither leaves partitions to the other that it would not take.
func (r *Runner) crew() string {
	h := fnv.New64a()
	for _, name := range r.order {
		fmt.Fprintf(h, "%s %d\n", name, r.defs[name].Version)
	}
	return strconv.FormatUint(h.Sum64(), 16)
}

func (r *Runner) releaseAll(held map[feedKey]*follower) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	for k := range held {
		if err := r.locks.Release(ctx, k.lock(r.defs[k.projection].Version)); err != nil {
			r.logger.Warn("release partition", "partition", k.partition.String(), "error", err)
			return // the session is gone, and the locks with it
		}
	}
}

// follow opens a feed and steps it, and opens it again after an error.
func (r *Runner) follow(ctx context.Context, k feedKey) {
	const longest = 5 * time.Second
	wait := 50 * time.Millisecond
	for {
		began := r.clock.Now()
		err := r.followOnce(ctx, k)
		if ctx.Err() != nil {
			return
		}
		r.fault(k, err)
		r.logger.WarnContext(ctx, "projection will go on from its checkpoint", "handler", k.projection,
			"partition", k.partition.String(), "error", err)
		if r.clock.Now().Sub(began) > longest {
			wait = 50 * time.Millisecond
		}
		if !sleep(ctx, wait) {
			return
		}
		wait = min(2*wait, longest)
	}
}

func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}

func (r *Runner) followOnce(ctx context.Context, k feedKey) (err error) {
	f, err := r.Open(ctx, k.projection, k.partition)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	r.fault(k, nil)
	requeue := time.NewTicker(500 * time.Millisecond)
	defer requeue.Stop()
	var last time.Time
	taken, pause := 0, r.linger
	for {
		n, err := f.Step(ctx)
		if err != nil {
			return err
		}
		taken += n
		if n == r.batch { // a full batch: there is more
			continue
		}
		if taken > 0 {
			now := time.Now()
			pause = r.pause(taken, now.Sub(last))
			taken, last = 0, now
		}
		select {
		case <-ctx.Done():
			return nil
		case <-f.nudged:
		case <-f.Ready():
			// The first event after a pause is applied at once; under load the
			// transactions are this far apart, unless somebody waits for them.
			if idle := time.Since(last); idle < pause && !f.linger(ctx, pause-idle) {
				return nil
			}
		case <-requeue.C:
			if err := f.tend(ctx); err != nil {
				return err
			}
		}
	}
}

// pause is how long records may gather that come as fast as so many did within a
// time: not longer than a batch takes to fill, so that what the log holds for
// its readers does not run over, and is not fetched once more.
func (r *Runner) pause(taken int, within time.Duration) time.Duration {
	return time.Duration(min(float64(r.linger), float64(within)*float64(r.batch)/float64(taken)))
}

// linger lets more events arrive until the time is over or somebody waits for
// those that have. It reports whether the context still stands.
func (f *Feed) linger(ctx context.Context, d time.Duration) bool {
	select {
	case <-f.hurry: // from a wait that may be over
	default:
	}
	if f.runner.waiting.Load() > 0 {
		return true
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-f.hurry:
	case <-t.C:
	}
	return true
}

// tend looks for requests and for a build that has replaced the feed's.
func (f *Feed) tend(ctx context.Context) error {
	live, err := f.runner.live(ctx, f.def.Name)
	if err != nil {
		return err
	}
	if live != f.build {
		return ErrFenced
	}
	if len(f.parked) > 0 {
		_, err = f.Requeue(ctx)
	}
	return err
}

func (r *Runner) fault(k feedKey, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err == nil {
		delete(r.errs, k)
		return
	}
	r.errs[k] = err
}

// PartitionStatus is how a projection is in one partition.
type PartitionStatus struct {
	Checkpoint
	Here   bool   // followed by this process
	Paused string // why it waits for a newer build, as far as this process knows
	Error  string // the last failure, while it is being retried
}

// Status is how a projection is.
type Status struct {
	Projection string
	Build      Build
	Position   domain.Position
	Degraded   bool // some stream is parked, or some partition paused
	Parked     []Parked
	Partitions []PartitionStatus
}

// Status describes a projection for operators.
func (r *Runner) Status(ctx context.Context, projection string) (Status, error) {
	build, err := r.live(ctx, projection)
	if err != nil {
		return Status{}, err
	}
	s := Status{Projection: projection, Build: build}
	if s.Parked, err = r.store.Parked(ctx, build); err != nil {
		return s, fmt.Errorf("read parked streams of %s: %w", projection, err)
	}
	s.Degraded = len(s.Parked) > 0
	checkpoints, err := r.store.Checkpoints(ctx, build)
	if err != nil {
		return s, fmt.Errorf("read checkpoints of %s: %w", projection, err)
	}
	marks := make(map[log.Partition]domain.Position)
	for _, c := range checkpoints {
		k := feedKey{projection, c.Partition}
		r.mu.Lock()
		f, fault := r.feeds[k], r.errs[k]
		r.mu.Unlock()
		p := PartitionStatus{Checkpoint: c}
		if f != nil && f.build == build {
			p.Here, p.Checkpoint = true, f.Checkpoint()
			if cause := f.Paused(); cause != nil {
				p.Paused, s.Degraded = cause.Error(), true
			}
		}
		if fault != nil {
			p.Error = fault.Error()
		}
		marks[c.Partition] = p.done()
		s.Partitions = append(s.Partitions, p)
	}
	s.Position = lowest(marks, nil)
	return s, nil
}

// Lag is the number of records on the log that a projection has not read.
func (r *Runner) Lag(ctx context.Context, projection string) (int64, error) {
	s, err := r.Status(ctx, projection)
	if err != nil {
		return 0, err
	}
	partitions := make([]log.Partition, 0, len(s.Partitions))
	for _, p := range s.Partitions {
		partitions = append(partitions, p.Partition)
	}
	bounds, err := r.log.Bounds(ctx, partitions...)
	if err != nil {
		return 0, fmt.Errorf("read the ends of partitions: %w", err)
	}
	var lag int64
	for _, p := range s.Partitions {
		b := bounds[p.Partition]
		lag += max(0, b.End-max(p.Offset, b.First))
	}
	return lag, nil
}
