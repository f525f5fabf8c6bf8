package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

// ticks is the unit of CPU time in /proc, which is the same on every Linux.
const ticks = 100

// process is a line of /proc/PID/stat.
type process struct {
	name   string
	parent int
	cpu    float64 // seconds, with those of children that have ended
}

func readProcess(pid int) (process, error) {
	text, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	if err != nil {
		return process{}, fmt.Errorf("read process %d: %w", pid, err)
	}
	return parseStat(string(text))
}

// parseStat reads a line of /proc/PID/stat. The name is in brackets and may hold
// anything.
func parseStat(line string) (process, error) {
	open, end := strings.IndexByte(line, '('), strings.LastIndexByte(line, ')')
	if open < 0 || end < open {
		return process{}, errors.New("read process: no name")
	}
	fields := strings.Fields(line[end+1:]) // from the third: state, parent, ...
	if len(fields) < 15 {
		return process{}, errors.New("read process: too few fields")
	}
	p := process{name: line[open+1 : end]}
	var err error
	if p.parent, err = strconv.Atoi(fields[1]); err != nil {
		return process{}, fmt.Errorf("read process: %w", err)
	}
	for _, f := range fields[11:15] { // user and system time, the process's and its dead children's
		n, err := strconv.ParseUint(f, 10, 64)
		if err != nil {
			return process{}, fmt.Errorf("read process: %w", err)
		}
		p.cpu += float64(n) / ticks
	}
	return p, nil
}

// CPU is how many seconds processes and all below them have worked. Who has
// gone counts with its parent.
func CPU(pids ...int) (float64, error) {
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return 0, fmt.Errorf("list processes: %w", err)
	}
	all, below := make(map[int]process), make(map[int][]int)
	for _, path := range stats {
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(path)))
		if err != nil {
			continue // not a process
		}
		p, err := readProcess(pid)
		if err != nil {
			continue // it has just ended
		}
		all[pid] = p
		below[p.parent] = append(below[p.parent], pid)
	}
	total := 0.0
	for queue := slices.Clone(pids); len(queue) > 0; queue = queue[1:] {
		p, ok := all[queue[0]]
		if !ok {
			return 0, fmt.Errorf("there is no process %d", queue[0])
		}
		total += p.cpu
		queue = append(queue, below[queue[0]]...)
	}
	return total, nil
}

// OwnCPU is how many seconds this process has worked, without its children.
func OwnCPU() (float64, error) {
	p, err := readProcess(os.Getpid())
	return p.cpu, err
}

// Memory is how many bytes of a process are in memory.
func Memory(pid int) (int64, error) {
	text, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "status"))
	if err != nil {
		return 0, fmt.Errorf("read memory of process %d: %w", pid, err)
	}
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			n, err := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
			return n << 10, err
		}
	}
	return 0, fmt.Errorf("process %d has no memory", pid)
}

// Database is what Postgres has done so far: transactions in this database, and
// the write-ahead log of the whole server.
type Database struct {
	Transactions float64
	Syncs        float64
	WAL          float64 // bytes
	location     string  // in the write-ahead log
}

// statisticsLag is how old Postgres's statistics may be.
const statisticsLag = 1500 * time.Millisecond

// ReadDatabase reads the counters once they are up to date.
func ReadDatabase(ctx context.Context, c *pgx.Conn) (Database, error) {
	select {
	case <-time.After(statisticsLag):
	case <-ctx.Done():
		return Database{}, context.Cause(ctx)
	}
	syncs := `(select coalesce(wal_sync, 0) from pg_stat_wal)`
	var version int
	if err := c.QueryRow(ctx, `select current_setting('server_version_num')::int`).Scan(&version); err != nil {
		return Database{}, fmt.Errorf("read statistics: %w", err)
	}
	if version >= 180000 { // moved
		syncs = `(select coalesce(sum(fsyncs), 0) from pg_stat_io where object = 'wal')`
	}
	var d Database
	err := c.QueryRow(ctx, `select xact_commit + xact_rollback, `+syncs+`, pg_current_wal_lsn() - '0/0', pg_current_wal_lsn()::text
		from pg_stat_database where datname = current_database()`).Scan(&d.Transactions, &d.Syncs, &d.WAL, &d.location)
	if err != nil {
		return Database{}, fmt.Errorf("read statistics: %w", err)
	}
	return d, nil
}

// PageImages is how many bytes of the write-ahead log between two readings are
// copies of whole pages, of which there are many after a checkpoint. It needs
// the extension pg_walinspect and its permission.
func PageImages(ctx context.Context, c *pgx.Conn, from, to Database) (float64, error) {
	var n float64
	if _, err := c.Exec(ctx, `create extension if not exists pg_walinspect`); err != nil {
		return 0, fmt.Errorf("read the write-ahead log: %w", err)
	}
	err := c.QueryRow(ctx, `select coalesce(sum(fpi_size), 0) from pg_get_wal_stats($1::pg_lsn, $2::pg_lsn)`, from.location, to.location).Scan(&n)
	if err != nil {
		return 0, fmt.Errorf("read the write-ahead log: %w", err)
	}
	return n, nil
}

// Postmaster is the process of the server that a connection leads to, if it is
// on this machine.
func Postmaster(ctx context.Context, c *pgx.Conn) (int, error) {
	var backend int
	if err := c.QueryRow(ctx, `select pg_backend_pid()`).Scan(&backend); err != nil {
		return 0, fmt.Errorf("find the server's process: %w", err)
	}
	p, err := readProcess(backend)
	if err != nil {
		return 0, err
	}
	if p.name != "postgres" {
		return 0, fmt.Errorf("the server is not on this machine")
	}
	return p.parent, nil
}
