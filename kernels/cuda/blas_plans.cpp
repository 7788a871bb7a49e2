#include "kernels/cuda/blas_plans.h"

#include <map>
#include <tuple>
#include <utility>

namespace fettle::kernels::cuda {
namespace {

using PlanKey = std::tuple<BlasType, std::int64_t, std::int64_t, std::int64_t, std::int64_t,
                           std::int64_t, std::int64_t, bool, bool>;

PlanKey keyOf(const BlasGemm& p) {
    return {p.type, p.m, p.n, p.k, p.aStride, p.bStride, p.cStride, p.aTransposed, p.bTransposed};
}

class PlannedBlas : public Blas {
public:
    PlannedBlas(std::unique_ptr<BlasPlanner> planner, std::unique_ptr<Blas> plain,
                std::string problem)
        : m_planner(std::move(planner)), m_plain(std::move(plain)), m_reason(std::move(problem)) {}

    bool takes(const BlasGemm& p) override {
        return planOf(p) != nullptr || (m_plain && m_plain->takes(p));
    }

    Status gemm(const BlasGemm& p) override {
        if (std::unique_ptr<BlasPlan>* const plan = planOf(p)) {
            const Status status = m_planner->run(**plan, p);
            // Queued, or the device failed: the other library would fail in the same way.
            if (status != kInvalidValue)
                return status;
            m_reason = "the way that was found for a product was refused when it was used";
            plan->reset();
        }
        return m_plain ? m_plain->gemm(p) : kInvalidValue;
    }

    const std::string& reason() const override { return m_reason; }

private:
    /// Null where there is no way, which is remembered too.
    std::unique_ptr<BlasPlan>* planOf(const BlasGemm& p) {
        if (!m_planner)
            return nullptr;
        const auto known = m_plans.find(keyOf(p));
        if (known != m_plans.end())
            return known->second ? &known->second : nullptr;
        if (m_plans.size() >= kMostBlasPlans)
            m_plans.clear();
        std::string problem;
        std::unique_ptr<BlasPlan>& plan = m_plans[keyOf(p)];
        plan = m_planner->plan(p, &problem);
        if (!plan)
            m_reason = std::move(problem);
        return plan ? &plan : nullptr;
    }

    std::unique_ptr<BlasPlanner> m_planner;  // outlives its plans
    std::unique_ptr<Blas> m_plain;
    std::string m_reason;
    std::map<PlanKey, std::unique_ptr<BlasPlan>> m_plans;
};

}  // namespace

std::unique_ptr<Blas> plannedBlas(std::unique_ptr<BlasPlanner> planner, std::unique_ptr<Blas> plain,
                                  std::string problem) {
    return std::make_unique<PlannedBlas>(std::move(planner), std::move(plain), std::move(problem));
}

}  // namespace fettle::kernels::cuda
