package domain_test

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/domain"
)

const (
	fleetToken = "0123456789abcdef0123456789abcdef"
	epoch      = "5eed"
)

func TestWorkerTokensIdentify_FleetAndOwnToken_HolderFound(t *testing.T) {
	tokens := domain.NewWorkerTokens(fleetToken)
	own := tokens.Own("worker-1", epoch)
	require.Equal(t, "wt_worker-1_5eed_6a395d9102b668c5", own[:len("wt_worker-1_5eed_")+16], "all replicas agree, also with those of other versions")

	holder, ok := tokens.Identify(fleetToken)
	require.True(t, ok)
	require.True(t, holder.IsFleet())
	holder, ok = domain.NewWorkerTokens(fleetToken).Identify(own)
	require.True(t, ok)
	require.Equal(t, domain.TokenHolder{WorkerID: "worker-1", Epoch: epoch}, holder)

	_, ok = (*domain.WorkerTokens)(nil).Identify(fleetToken)
	require.False(t, ok)
}

func TestWorkerTokensIdentify_AnyOtherText_Refused(t *testing.T) {
	tokens := domain.NewWorkerTokens(fleetToken)
	own := tokens.Own("worker-1", epoch)
	proof := strings.TrimPrefix(own, "wt_worker-1_5eed_")
	for _, wrong := range []string{
		"", "wt_", "wt___", "wt_worker-1", "wt_worker-1_5eed", "wt_worker-1_5eed_", own[:len(own)-1], own + "0", own + "_" + proof, proof,
		"wt_worker-2_5eed_" + proof, "wt_worker-1_5eee_" + proof, "wt_Worker-1_5eed_" + proof, "wt_worker-1__" + proof, "wt_worker-1_" + proof,
		"WT_worker-1_5eed_" + proof, "wt__5eed_" + proof, strings.ToUpper(own),
		tokens.Own("", epoch), tokens.Own("worker-1", ""), tokens.Own("Worker_1", epoch), // made here, and for nobody
		tokens.Call("worker-1", epoch), // the other direction
		domain.NewWorkerTokens("another").Own("worker-1", epoch), "another", fleetToken + " ", fleetToken[1:],
	} {
		holder, ok := tokens.Identify(wrong)
		require.False(t, ok, wrong)
		require.Zero(t, holder)
	}
}

func TestWorkerTokens_Derived_DifferByWorkerDirectionAndEpoch(t *testing.T) {
	tokens := domain.NewWorkerTokens(fleetToken)
	seen := map[string]bool{}
	for _, token := range []string{
		tokens.Own("worker-1", "1"), tokens.Own("worker-1", "2"), tokens.Own("worker-2", "1"), tokens.Own("worker-11", ""),
		tokens.Call("worker-1", "1"), tokens.Call("worker-1", "2"), tokens.Call("worker-2", "1"), tokens.Call("worker-11", ""),
	} {
		proof := token[strings.LastIndexByte(token, '_')+1:]
		require.False(t, seen[proof], token)
		require.NotContains(t, token, fleetToken)
		seen[proof] = true
	}
}

func TestTokenHolderAuthorize_HolderAndWorker_AllowedOrRefused(t *testing.T) {
	own := &domain.Worker{ID: "worker-1", TokenEpoch: epoch, Capabilities: []domain.Capability{domain.CapOwnToken}}
	for name, c := range map[string]struct {
		holder domain.TokenHolder
		worker *domain.Worker
		code   domain.Code
	}{
		"own token":                        {domain.TokenHolder{WorkerID: "worker-1", Epoch: epoch}, own, ""},
		"another epoch":                    {domain.TokenHolder{WorkerID: "worker-1", Epoch: "former"}, own, domain.CodeAuthTokenInvalid},
		"removed worker":                   {domain.TokenHolder{WorkerID: "worker-1", Epoch: epoch}, nil, domain.CodeAuthTokenInvalid},
		"worker without own tokens":        {domain.TokenHolder{WorkerID: "worker-1", Epoch: epoch}, &domain.Worker{ID: "worker-1"}, domain.CodeAuthTokenInvalid},
		"another worker":                   {domain.TokenHolder{WorkerID: "worker-2", Epoch: epoch}, own, domain.CodeAuthTokenInvalid},
		"fleet token, unknown worker":      {domain.TokenHolder{}, nil, ""},
		"fleet token, legacy worker":       {domain.TokenHolder{}, &domain.Worker{ID: "worker-1"}, ""},
		"fleet token, not announced":       {domain.TokenHolder{}, &domain.Worker{ID: "worker-1", TokenEpoch: epoch, Capabilities: []domain.Capability{domain.CapLease}}, ""},
		"fleet token, worker with its own": {domain.TokenHolder{}, own, domain.CodeInsufficientPermission},
	} {
		t.Run(name, func(t *testing.T) {
			require.Equal(t, c.code, domain.CodeOf(c.holder.Authorize(c.worker)))
		})
	}
}

func TestWorkerRegister_EachRegistration_BeginsAnEpoch(t *testing.T) {
	w := &domain.Worker{ID: "worker-1"}
	capable := domain.Registration{WorkerID: "worker-1", Capabilities: []domain.Capability{domain.CapLease}, TokenEpoch: "1"}
	w.Register(capable, domain.DefaultTiming(), time.Now())
	require.Equal(t, "1", w.TokenEpoch)
	capable.TokenEpoch = "2"
	w.Register(capable, domain.DefaultTiming(), time.Now())
	require.Equal(t, "2", w.TokenEpoch)
	w.Register(domain.Registration{WorkerID: "worker-1", TokenEpoch: "3"}, domain.DefaultTiming(), time.Now())
	require.Empty(t, w.TokenEpoch, "a legacy worker has no token of its own")
}
