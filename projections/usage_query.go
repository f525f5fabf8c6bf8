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
func (q Usage) Workflows(ctx context.Context, tenant domain.Tenant, f UsageFilter, after string, limit int) (days []UsageDay, next string, err error) {
	return report(ctx, q.DB, usageNow, usageAsOf, "workflow", tenant, f, after, limit, func(d UsageDay) [2]string { return [2]string{d.Day, d.Workflow} })
}

// Agents reports by day and agent.
func (q Usage) Agents(ctx context.Context, tenant domain.Tenant, f UsageFilter, after string, limit int) (days []AgentDay, next string, err error) {
	return report(ctx, q.DB, agentsNow, agentsAsOf, "agent", tenant, f, after, limit, func(d AgentDay) [2]string { return [2]string{d.Day, d.Agent} })
}

func report[R any](
	ctx context.Context, db DB, now, asOf, id string, tenant domain.Tenant, f UsageFilter, after string, limit int, key func(R) [2]string,
) ([]R, string, error) {
	n := limitOf(limit)
	sql, args, err := f.statement(now, asOf, id, tenant, after, n+1)
	if err != nil {
		return nil, "", err
	}
	out, err := collect[R](ctx, db, sql, args)
	if err != nil {
		return nil, "", fmt.Errorf("report usage: %w", err)
	}
	if len(out) <= n {
		return out, "", nil
	}
	last := key(out[n-1])
	return out[:n], cursor{f.order(id), last[:]}.encode(), nil
}

func (f UsageFilter) order(id string) string {
	order, _ := direction(f.NewestFirst)
	return "usage by " + id + " " + order
}

// statement is the SQL of a page. Id is the column beside the day. The table is
// named everywhere: day alone is the text of the answer, which no index has.
func (f UsageFilter) statement(now, asOf, id string, tenant domain.Tenant, after string, limit int) (string, []any, error) {
	if err := f.check(); err != nil {
		return "", nil, err
	}
	last, err := decodeCursor(after, f.order(id), 2)
	if err != nil {
		return "", nil, err
	}
	sql, q := source(tenant, f.At, now, asOf)
	q.conditions = append(q.conditions, "true")
	order, beyond := direction(f.NewestFirst)
	if f.From != "" {
		q.where("u.day >= %s::text::date", f.From)
	}
	if f.To != "" {
		q.where("u.day <= %s::text::date", f.To)
	}
	if f.ID != "" {
		q.where("u."+id+" = %s", f.ID)
	}
	if last != nil {
		if _, err := time.Parse(time.DateOnly, last[0]); err != nil {
			return "", nil, ErrCursor
		}
		if f.ID != "" { // one row a day, in the order of the primary key
			q.where("u.day "+beyond+" %s::text::date", last[0])
		} else {
			q.conditions = append(q.conditions, fmt.Sprintf("(u.day, u.%s) %s (%s::text::date, %s)", id, beyond, q.arg(last[0]), q.arg(last[1])))
		}
	}
	if f.ID != "" {
		return fmt.Sprintf("%s and %s order by u.day %s limit %s", sql, q, order, q.arg(limit)), q.args, nil
	}
	return fmt.Sprintf("%s and %s order by u.day %s, u.%s %s limit %s", sql, q, order, id, order, q.arg(limit)), q.args, nil
}
