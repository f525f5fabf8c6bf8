package projections

import (
	"context"
	"fmt"
	"regexp"
	"time"

	"github.com/hishamos/hishamos/domain"
)

// Usage are the queries over what was used.
type Usage struct{ DB DB }

// UsageFilter narrows a report. Days are inclusive and in UTC; empty: no bound.
type UsageFilter struct {
	From, To    string // 2006-01-02
	ID          string // of a workflow or an agent; empty: all
	NewestFirst bool
	At          domain.Position // as of a position; 0: now
}

const (
	usageNumbers = `started, completed, failed, cancelled, simulated, duration_ms, ended,
    calls, simulated_calls, unpriced_calls, ` + tokenColumns + `, cost`

	agentNumbers = `attempts, completed, failed, retried, lapsed, duration_ms,
    calls, simulated_calls, unpriced_calls, ` + tokenColumns + `, cost`

	usageNow = `
select u.tenant, u.workflow, u.day::text, ` + usageNumbers + `
from usage_days u
where u.build = live_build('usage', 2) and u.tenant = $1`

	agentsNow = `
select u.tenant, u.agent, u.day::text, ` + agentNumbers + `
from agent_days u
where u.build = live_build('usage', 2) and u.tenant = $1`
)

var (
	usageAsOf  = asOfSQL("usage_days", "usage_changes", "workflow", usageNumbers)
	agentsAsOf = asOfSQL("agent_days", "agent_changes", "agent", agentNumbers)
)

// asOfSQL is the SQL of days as of position $2. A day to which nothing was added
// since is as it was; only of the others, most often one, the changes up to then
// are added up. The live rows give the order, as everywhere.
func asOfSQL(days, changes, id, numbers string) string {
	sums := regexp.MustCompile(`\w+`).ReplaceAllString(numbers, "sum($0)::bigint as $0")
	same := fmt.Sprintf("c.build = u.build and c.tenant = u.tenant and c.%[1]s = u.%[1]s and c.day = u.day", id)
	return fmt.Sprintf(`
select u.tenant, u.%[3]s, u.day::text, x.*
from %[1]s u
cross join lateral (select exists (select from %[2]s c where %[6]s and c.position > $2) as more) later
cross join lateral (
    select %[4]s from %[1]s c where not later.more and %[6]s
    union all
    select %[5]s from %[2]s c where later.more and %[6]s and c.position <= $2 having count(*) > 0
) x
where u.build = live_build('usage', 2) and u.tenant = $1`, days, changes, id, numbers, sums, same)
}

func (f UsageFilter) check() error {
	for name, v := range map[string]string{"from": f.From, "to": f.To} {
		if _, err := time.Parse(time.DateOnly, v); v != "" && err != nil {
			return domain.InvalidField(name, "is not a day", "write it like 2026-01-31")
		}
	}
	return nil
}

// Workflows reports by day and workflow.
func (q Usage) Workflows(ctx context.Context, tenant domain.Tenant, f UsageFilter, after string, limit int) (Page[UsageDay], error) {
	return report(ctx, q.DB, source(tenant, f.At, usageNow, usageAsOf), "workflow", f, after, limit, func(d *UsageDay) []any {
		return []any{(*dayMark)(&d.Day), &d.Workflow}
	})
}

// Agents reports by day and agent.
func (q Usage) Agents(ctx context.Context, tenant domain.Tenant, f UsageFilter, after string, limit int) (Page[AgentDay], error) {
	return report(ctx, q.DB, source(tenant, f.At, agentsNow, agentsAsOf), "agent", f, after, limit, func(d *AgentDay) []any {
		return []any{(*dayMark)(&d.Day), &d.Agent}
	})
}

// report returns a page. Id is the column beside the day. The table is named
// everywhere: day alone is the text of the answer, which no index has.
func report[R any](ctx context.Context, db DB, q *query, id string, f UsageFilter, after string, limit int, mark func(*R) []any) (Page[R], error) {
	if err := f.check(); err != nil {
		return Page[R]{}, err
	}
	if f.From != "" {
		q.where("u.day >= %s", f.From)
	}
	if f.To != "" {
		q.where("u.day <= %s", f.To)
	}
	byDay := order[R]{"usage by " + id, f.NewestFirst, []string{"u.day", "u." + id}, mark}
	if f.ID != "" { // one row a day, in the order of the primary key
		q.where("u."+id+" = %s", f.ID)
		byDay.columns, byDay.mark = byDay.columns[:1], func(r *R) []any { return mark(r)[:1] }
	}
	return page(ctx, db, q, byDay, after, limit)
}

// dayMark is a day in a cursor.
type dayMark string

// UnmarshalText refuses what is no day.
func (d *dayMark) UnmarshalText(text []byte) error {
	_, err := time.Parse(time.DateOnly, string(text))
	*d = dayMark(text)
	return err
}
