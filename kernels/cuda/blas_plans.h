// Products by a library that has to be asked for a way to compute each shape (cuBLASLt): the answer
// is kept for the shape and type, and what it has no way for goes to a library that takes shapes as
// they come (cuBLAS).
#pragma once

#include <memory>
#include <string>

#include "kernels/cuda/blas.h"

namespace fettle::kernels::cuda {

/// A way to compute products of one shape and type.
class BlasPlan {
public:
    virtual ~BlasPlan() = default;
};

class BlasPlanner {
public:
    virtual ~BlasPlanner() = default;
    /// Null, with the reason in `problem`, where there is no way. Pointers of `product` are not
    /// looked at: they are multiples of 16 bytes.
    virtual std::unique_ptr<BlasPlan> plan(const BlasGemm& product, std::string* problem) = 0;
    virtual Status run(const BlasPlan& plan, const BlasGemm& product) = 0;
};

/// Plans kept at the same time. Lengths of prompts differ: past this all are forgotten.
constexpr std::size_t kMostBlasPlans = 1024;

/// `planner` may be null, `problem` then says why; so may `plain`, but not both.
std::unique_ptr<Blas> plannedBlas(std::unique_ptr<BlasPlanner> planner, std::unique_ptr<Blas> plain,
                                  std::string problem);

}  // namespace fettle::kernels::cuda
