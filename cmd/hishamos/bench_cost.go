package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/hishamos/hishamos/internal/bench"
)

// meter counts what a load costs: CPU by kind of process, and Postgres's work.
type meter struct {
	r       *benchRun
	conn    *pgx.Conn
	trees   map[string][]int // without the client, which is this process
	cpu     map[string]float64
	began   bench.Database
	notes   []string
	missing bool // a part's CPU is not known
}

const clientCPU = "client"

// newMeter starts counting. What cannot be counted here is left out, with a note.
func (r *benchRun) newMeter(ctx context.Context) (*meter, error) {
	m := &meter{r: r, trees: make(map[string][]int)}
	for _, s := range r.servers {
		m.trees["hishamos"] = append(m.trees["hishamos"], s.pid())
	}
	for name, pid := range r.procs {
		m.trees[name] = append(m.trees[name], pid)
	}
	var err error
	if m.conn, err = pgx.Connect(ctx, r.url); err != nil {
		return nil, fmt.Errorf("read statistics: %w", err)
	}
	if len(m.trees["postgres"]) == 0 {
		pid, err := bench.Postmaster(ctx, m.conn)
		if err != nil {
			m.lacks("postgres", err)
		} else {
			m.trees["postgres"] = []int{pid}
		}
	}
	if !r.cfg.EmbeddedLog() && len(m.trees["kafka"]) == 0 {
		m.lacks("kafka", errors.New("name it with --procs kafka=PID"))
	}
	if m.began, err = bench.ReadDatabase(ctx, m.conn); err != nil {
		return nil, errors.Join(err, m.conn.Close(ctx))
	}
	m.cpu = m.read()
	return m, nil
}

func (m *meter) lacks(part string, why error) {
	m.missing = true
	m.notes = append(m.notes, fmt.Sprintf("the CPU of %s is not known: %v", part, why))
}

func (m *meter) read() map[string]float64 {
	all := make(map[string]float64)
	for name, pids := range m.trees {
		v, err := bench.CPU(pids...)
		if err != nil {
			m.lacks(name, err)
			delete(m.trees, name)
			continue
		}
		all[name] = v
	}
	v, err := bench.OwnCPU()
	if err != nil {
		m.lacks(clientCPU, err)
		return all
	}
	all[clientCPU] = v
	return all
}

// into ends counting and adds the cost of each step to the values.
func (m *meter) into(ctx context.Context, values map[string]float64, steps int) (notes []string, err error) {
	defer func() { err = errors.Join(err, m.conn.Close(context.WithoutCancel(ctx))) }()
	cpu, sum := m.read(), 0.0
	for name, v := range cpu {
		spent := (v - m.cpu[name]) * 1000 / float64(steps)
		values["cpu_s_per_1000_steps_"+name] = spent
		sum += spent
	}
	if !m.missing {
		values["cpu_s_per_1000_steps"] = sum
	}
	ended, err := bench.ReadDatabase(ctx, m.conn)
	if err != nil {
		return nil, err
	}
	each := func(from, to float64) float64 { return (to - from) / float64(steps) }
	values["transactions_per_step"] = each(m.began.Transactions, ended.Transactions)
	values["wal_syncs_per_step"] = each(m.began.Syncs, ended.Syncs)
	values["wal_bytes_per_step"] = each(m.began.WAL, ended.WAL)
	images, err := bench.PageImages(ctx, m.conn, m.began, ended)
	if err != nil {
		m.notes = append(m.notes, fmt.Sprintf("wal_bytes_per_step counts full-page images: %v", err))
	} else {
		values["wal_bytes_per_step_without_page_images"] = each(m.began.WAL+images, ended.WAL)
	}
	return m.notes, nil
}
