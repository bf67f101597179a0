package main

import (
	"context"
	"errors"
	"fmt"
	"slices"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	fwk "k8s.io/kube-scheduler/framework"
	"k8s.io/kubernetes/pkg/scheduler"
	internalcache "k8s.io/kubernetes/pkg/scheduler/backend/cache"
	"k8s.io/kubernetes/pkg/scheduler/framework"
	"k8s.io/kubernetes/pkg/scheduler/framework/plugins/noderesources"

	"volsched/tests/oracle/cluster"
)

// verdict is one line of output.
type verdict struct {
	ID        string                      `json:"id"`
	Refused   string                      `json:"refused,omitempty"`
	PreFilter *rejection                  `json:"prefilter,omitempty"`
	Rejected  map[string]*rejection       `json:"rejected,omitempty"`
	Feasible  []string                    `json:"feasible,omitempty"`
	Volumes   map[string]*plan            `json:"volumes,omitempty"`
	Scores    map[string]map[string]int64 `json:"scores,omitempty"`
	Total     map[string]int64            `json:"total,omitempty"`
	Best      []string                    `json:"best,omitempty"`
	Message   string                      `json:"message,omitempty"`
	Error     string                      `json:"error,omitempty"`
	Order     []string                    `json:"order,omitempty"`
	Choice    *choice                     `json:"choice,omitempty"`
}

// rejection is a status that is no success.
type rejection struct {
	Plugin  string   `json:"plugin,omitempty"`
	Code    string   `json:"code"`
	Reasons []string `json:"reasons,omitempty"`
}

// choice is the node that the scheduler takes, and how many it looked at and found fit on the way.
type choice struct {
	Node      string `json:"node"`
	Evaluated int    `json:"evaluated"`
	Feasible  int    `json:"feasible"`
}

func rejectionOf(status *fwk.Status) *rejection {
	reasons := slices.Clone(status.Reasons())
	if status.Plugin() == noderesources.Name {
		sortScalars(reasons)
	}
	return &rejection{Plugin: status.Plugin(), Code: status.Code().String(), Reasons: reasons}
}

// sortScalars puts the resources that NodeResourcesFit lacks by name where it goes through a map: all that it names last.
func sortScalars(reasons []string) {
	fixed := []string{"Too many pods", "Insufficient cpu", "Insufficient memory", "Insufficient ephemeral-storage"}
	from := slices.IndexFunc(reasons, func(reason string) bool { return !slices.Contains(fixed, reason) })
	if from >= 0 {
		slices.Sort(reasons[from:])
	}
}

// decide asks once, of a scheduler made for it.
func (c *described) decide() *verdict {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	answer := &verdict{ID: c.id}
	sched, snapshot, err := cluster.Assemble(ctx, c.objects, []*v1.Pod{c.pod}, c.options()...)
	if err != nil {
		answer.Refused = err.Error()
		return answer
	}
	profile, known := sched.Profiles[c.pod.Spec.SchedulerName]
	if !known {
		answer.Refused = fmt.Sprintf("no profile is named %q", c.pod.Spec.SchedulerName)
		return answer
	}
	cycle := &cycle{described: c, profile: profile, snapshot: snapshot, state: framework.NewCycleState()}
	if err := cycle.run(ctx, answer); err != nil {
		return &verdict{ID: c.id, Error: err.Error()}
	}
	if answer.PreFilter == nil {
		answer.Order = names(cycle.all)
		answer.Choice = c.choose(ctx, sched, profile)
	}
	return answer
}

// choose lets the scheduler pick a node by itself; nil when it finds none.
func (c *described) choose(ctx context.Context, sched *scheduler.Scheduler, profile framework.Framework) *choice {
	info, err := framework.NewPodInfo(c.pod)
	if err != nil {
		return nil
	}
	found, err := sched.SchedulePod(ctx, profile, framework.NewCycleState(), &framework.QueuedPodInfo{PodInfo: info})
	if err != nil {
		return nil
	}
	return &choice{Node: found.SuggestedHost, Evaluated: found.EvaluatedNodes, Feasible: found.FeasibleNodes}
}

// cycle walks through a scheduling cycle as schedule_one.go does, but keeps all that the plugins say, and looks at every node where nodes
// are scored.
type cycle struct {
	*described
	profile  framework.Framework
	snapshot *internalcache.Snapshot
	state    fwk.CycleState
	all      []fwk.NodeInfo
	found    framework.Diagnosis
}

// run fills in the answer. An error stands for a cycle that failed after its PreFilters.
func (c *cycle) run(ctx context.Context, answer *verdict) error {
	all, err := c.snapshot.NodeInfos().List()
	if err != nil {
		return err
	}
	c.all = all
	c.found.NodeToStatus = framework.NewDefaultNodeToStatus()
	if len(all) == 0 {
		answer.Message = scheduler.ErrNoNodesAvailable.Error()
		return nil
	}
	narrowed, status, plugins := c.profile.RunPreFilterPlugins(ctx, c.state, c.pod)
	if !status.IsSuccess() {
		answer.PreFilter = rejectionOf(status)
		if status.IsRejected() {
			c.found.NodeToStatus.SetAbsentNodesStatus(status)
			c.found.PreFilterMsg = status.Message()
			answer.Message = c.message()
		}
		return nil
	}
	candidates := all
	if !narrowed.AllNodes() {
		candidates = nil
		for _, node := range all {
			if narrowed.NodeNames.Has(node.Node().Name) {
				candidates = append(candidates, node)
			}
		}
		text := fmt.Sprintf("node(s) didn't satisfy plugin(s) %v", sets.List(plugins))
		c.found.NodeToStatus.SetAbsentNodesStatus(fwk.NewStatus(fwk.UnschedulableAndUnresolvable, text))
	}
	feasible, err := c.filter(ctx, candidates, answer)
	if err != nil {
		return err
	}
	if len(feasible) == 0 {
		answer.Message = c.message()
		return nil
	}
	return c.score(ctx, feasible, answer)
}

// message is the text that the pod's event and condition would carry, were there no preemption.
func (c *cycle) message() string {
	return (&framework.FitError{Pod: c.pod, NumAllNodes: len(c.all), Diagnosis: c.found}).Error()
}

func (c *cycle) filter(ctx context.Context, candidates []fwk.NodeInfo, answer *verdict) ([]fwk.NodeInfo, error) {
	var feasible []fwk.NodeInfo
	answer.Rejected = map[string]*rejection{}
	for _, node := range candidates {
		name := node.Node().Name
		status := c.profile.RunFilterPluginsWithNominatedPods(ctx, c.state, c.pod, node)
		switch {
		case status.IsSuccess():
			if len(feasible) == 1 && !c.profile.HasScorePlugins() {
				return c.fitting(feasible, answer), nil // one is as good as another: coming to a second ends the search
			}
			feasible = append(feasible, node)
		case status.Code() == fwk.Error:
			return nil, errors.New(status.Message())
		default:
			answer.Rejected[name] = rejectionOf(status)
			c.found.NodeToStatus.Set(name, status)
			c.found.AddPluginStatus(status)
		}
	}
	return c.fitting(feasible, answer), nil
}

func (c *cycle) fitting(feasible []fwk.NodeInfo, answer *verdict) []fwk.NodeInfo {
	answer.Feasible = names(feasible)
	slices.Sort(answer.Feasible)
	answer.Volumes = plans(c.state, answer.Feasible)
	return feasible
}

func (c *cycle) score(ctx context.Context, feasible []fwk.NodeInfo, answer *verdict) error {
	answer.Scores, answer.Total = map[string]map[string]int64{}, map[string]int64{}
	if status := c.profile.RunPreScorePlugins(ctx, c.state, c.pod, feasible); !status.IsSuccess() {
		return errors.New(status.Message())
	}
	scored, status := c.profile.RunScorePlugins(ctx, c.state, c.pod, feasible)
	if !status.IsSuccess() {
		return errors.New(status.Message())
	}
	for _, node := range scored {
		byPlugin := map[string]int64{}
		for _, score := range node.Scores {
			byPlugin[score.Name] = score.Score
		}
		answer.Scores[node.Name], answer.Total[node.Name] = byPlugin, node.TotalScore
	}
	answer.Best = best(answer.Total)
	return nil
}

// best are the nodes of the highest total, by name.
func best(total map[string]int64) []string {
	var highest []string
	for name, value := range total {
		if len(highest) > 0 && value < total[highest[0]] {
			continue
		}
		if len(highest) > 0 && value > total[highest[0]] {
			highest = nil
		}
		highest = append(highest, name)
	}
	slices.Sort(highest)
	return highest
}

func names(nodes []fwk.NodeInfo) []string {
	found := make([]string, 0, len(nodes))
	for _, node := range nodes {
		found = append(found, node.Node().Name)
	}
	return found
}
