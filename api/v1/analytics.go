package v1

// WorkflowUsage is what the runs of one workflow did on one day (UTC).
type WorkflowUsage struct {
	Workflow       string `json:"workflow"`
	Day            string `json:"day" format:"date"`
	Started        int64  `json:"started"`
	Completed      int64  `json:"completed"`
	Failed         int64  `json:"failed"`
	Cancelled      int64  `json:"cancelled"`
	DurationMS     int64  `json:"duration_ms" doc:"Sum over the runs that ended on that day"`
	Calls          int64  `json:"calls" doc:"Model calls"`
	SimulatedCalls int64  `json:"simulated_calls" doc:"Calls that reached no model"`
	Cost           Cost   `json:"cost"`
}

// AgentUsage is what one agent did on one day (UTC).
type AgentUsage struct {
	Agent          string `json:"agent"`
	Day            string `json:"day" format:"date"`
	Attempts       int64  `json:"attempts"`
	Completed      int64  `json:"completed" doc:"Tasks"`
	Failed         int64  `json:"failed" doc:"Tasks that failed for good"`
	Retried        int64  `json:"retried" doc:"Attempts that failed and were repeated"`
	Lapsed         int64  `json:"lapsed" doc:"Attempts whose worker went away"`
	DurationMS     int64  `json:"duration_ms"`
	Calls          int64  `json:"calls" doc:"Model calls"`
	SimulatedCalls int64  `json:"simulated_calls" doc:"Calls that reached no model"`
	Cost           Cost   `json:"cost"`
}

// WorkflowAnalytics is one page of the rows of a period, by day and workflow.
type WorkflowAnalytics struct {
	Items []WorkflowUsage `json:"items" nullable:"false"`
	Next  string          `json:"next,omitempty" doc:"Cursor of the next page; absent on the last"`
}

// AgentAnalytics is one page of the rows of a period, by day and agent.
type AgentAnalytics struct {
	Items []AgentUsage `json:"items" nullable:"false"`
	Next  string       `json:"next,omitempty" doc:"Cursor of the next page; absent on the last"`
}
