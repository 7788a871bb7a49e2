// Two proposers as one: what the text said before is guessed to come again where that promises more
// than the model reaches; else the model is asked. A look costs next to nothing, so that the
// model's time is spent where nothing repeats.
#pragma once

#include "engine/speculative/proposer.h"

namespace fettle {

class LookupFirstProposer : public Proposer {
public:
    LookupFirstProposer(std::unique_ptr<Proposer> lookup, std::unique_ptr<Proposer> model);

    std::string description() const override;
    void restart() override;
    void propose(const DraftRequest& request, Draft& draft) override;
    bool wantsStates() const override { return m_model->wantsStates(); }
    std::uint64_t bytes() const override { return m_lookup->bytes() + m_model->bytes(); }

private:
    std::unique_ptr<Proposer> m_lookup, m_model;
};

}  // namespace fettle
