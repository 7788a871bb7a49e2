// Tensors, quantization schemes and the float forms of weights.
#include <gtest/gtest.h>

#include "engine/core/error.h"
#include "engine/tensor/weight.h"

namespace fettle {
namespace {

TEST(Tensor, CountsElementsAndNoticesOverflow) {
    EXPECT_EQ(elementCount({}), 1);
    EXPECT_EQ(elementCount({3, 4}), 12);
    EXPECT_EQ(elementCount({3, 0}), 0);
    EXPECT_EQ(elementCount({-1, 4}), -1);
    EXPECT_EQ(elementCount({std::int64_t{1} << 40, std::int64_t{1} << 40}), -1);
    EXPECT_EQ(toString(Shape{2, 3}), "[2, 3]");
}

TEST(Tensor, IsZeroedAlignedAndShared) {
    Tensor tensor = Tensor::allocate(DType::F32, {3, 5});
    EXPECT_EQ(tensor.bytes(), 60u);
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(tensor.data()) % 64, 0u);
    for (int i = 0; i < 15; ++i)
        EXPECT_EQ(tensor.as<float>()[i], 0);
    tensor.mutableAs<float>()[14] = 2;
    const Tensor other = tensor.reshaped({15});
    EXPECT_EQ(other.as<float>()[14], 2);
    EXPECT_THROW(tensor.reshaped({16}), EngineError);
    EXPECT_EQ(tensor.slice(56, 4).as<float>()[0], 2);
    EXPECT_THROW(tensor.slice(57, 4), EngineError);
    tensor.dropPages();  // a buffer keeps its values
    EXPECT_EQ(tensor.as<float>()[14], 2);
}

TEST(Tensor, RefusesImpossibleSizes) {
    try {
        Tensor::allocate(DType::F32, {std::int64_t{1} << 61, 8});
        FAIL();
    } catch (const EngineError& error) {
        EXPECT_EQ(error.kind(), ErrorKind::OutOfMemory);
    }
}

TEST(QuantScheme, KnowsItsNames) {
    EXPECT_TRUE(findQuantScheme("int8")->quantizesActivations);
    EXPECT_FALSE(findQuantScheme("w8a16")->quantizesActivations);
    EXPECT_EQ(findQuantScheme("int4-g128")->groupSize, 128);
    EXPECT_FALSE(findQuantScheme("int4-g32-asym")->symmetric);
    EXPECT_EQ(findQuantScheme("q4_k")->format, kernels::WeightFormat::Q4_K);
    for (const char* unknown :
         {"", "int4", "int4-g", "int4-g12", "int4-g032", "int4-g32x", "int3-g32", "fp8"})
        EXPECT_FALSE(findQuantScheme(unknown)) << unknown;
}

TEST(QuantScheme, CountsBitsWithScales) {
    EXPECT_DOUBLE_EQ(findQuantScheme("int4-g32")->bitsPerWeight(256), 4.5);
    EXPECT_DOUBLE_EQ(findQuantScheme("int4-g128-asym")->bitsPerWeight(256), 4 + 20.0 / 128);
    EXPECT_DOUBLE_EQ(findQuantScheme("int8")->bitsPerWeight(256), 8 + 16.0 / 256);
    EXPECT_DOUBLE_EQ(findQuantScheme("q8_0")->bitsPerWeight(256), 8.5);
    EXPECT_DOUBLE_EQ(findQuantScheme("q6_k")->bitsPerWeight(256), 6.5625);
}

TEST(Weight, DequantizesChannelsAndGroups) {
    QuantizedTensor bytes;
    bytes.scheme = *findQuantScheme("int8");
    bytes.rows = 2;
    bytes.cols = 3;
    bytes.codes = Tensor::allocate(DType::I8, {2, 3});
    bytes.scales = Tensor::allocate(DType::F32, {2, 1});
    for (int i = 0; i < 6; ++i)
        bytes.codes.mutableAs<std::int8_t>()[i] = static_cast<std::int8_t>(i - 3);
    bytes.scales.mutableAs<float>()[0] = 0.5f;
    bytes.scales.mutableAs<float>()[1] = 2;
    const Weight channel(bytes);
    EXPECT_EQ(channel.toFloat(), (std::vector<float>{-1.5f, -1, -0.5f, 0, 2, 4}));
    EXPECT_EQ(channel.typeName(), "int8");
    EXPECT_EQ(channel.bytes(), 14u);

    QuantizedTensor nibbles;
    nibbles.scheme = int4Scheme(8, false);
    nibbles.rows = 1;
    nibbles.cols = 16;
    nibbles.codes = Tensor::allocate(DType::I32, {1, 2});
    nibbles.codes.mutableAs<std::uint32_t>()[0] = 0x76543210;
    nibbles.codes.mutableAs<std::uint32_t>()[1] = 0xFEDCBA98;
    nibbles.scales = Tensor::allocate(DType::F32, {1, 2});
    nibbles.scales.mutableAs<float>()[0] = 1;
    nibbles.scales.mutableAs<float>()[1] = 0.5f;
    nibbles.zeroPoints = Tensor::allocate(DType::I32, {1, 2});
    nibbles.zeroPoints.mutableAs<std::uint32_t>()[0] = 3;
    nibbles.zeroPoints.mutableAs<std::uint32_t>()[1] = 8;
    EXPECT_EQ(Weight(nibbles).toFloat(),
              (std::vector<float>{-3, -2, -1, 0, 1, 2, 3, 4, 0, 0.5f, 1, 1.5f, 2, 2.5f, 3, 3.5f}));
}

TEST(Weight, HasNoMatrixFormForIntegers) {
    EXPECT_THROW(Weight(Tensor::allocate(DType::I32, {2, 2})).view(), EngineError);
    EXPECT_TRUE(Weight().empty());
}

}  // namespace
}  // namespace fettle
