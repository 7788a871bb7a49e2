#include "engine/speculative/lookup_first_proposer.h"

#include <algorithm>

namespace fettle {

LookupFirstProposer::LookupFirstProposer(std::unique_ptr<Proposer> lookup,
                                         std::unique_ptr<Proposer> model)
    : m_lookup(std::move(lookup)), m_model(std::move(model)) {}

std::string LookupFirstProposer::description() const {
    return m_lookup->description() + ", else " + m_model->description();
}

void LookupFirstProposer::restart() {
    m_lookup->restart();
    m_model->restart();
}

void LookupFirstProposer::propose(const DraftRequest& request, Draft& draft) {
    const auto ask = [&](Proposer& proposer, Guesser guesser) {
        DraftRequest part = request;
        part.most = request.length.levels(guesser, request.most);
        draft.guesser = guesser;
        if (part.most > 0)
            proposer.propose(part, draft);
    };
    ask(*m_lookup, Guesser::Lookup);
    if (!draft.empty() && request.length.prefersLookup(draft))
        return;
    draft = {};
    ask(*m_model, Guesser::Model);
}

}  // namespace fettle
